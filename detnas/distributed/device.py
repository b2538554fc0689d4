"""The choice of the device, and the setup of a CPU."""

import platform
from pathlib import Path

import torch

from detnas.distributed import comm
from detnas.utils.allocator import keep_freed_memory
from detnas.utils.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device "cpu", "cuda" (one a process), or "auto", a GPU if there is one. Raises `UserError` if missing."""
    # Weights that decay toward zero become denormal numbers, which slow CPUs several-fold.
    torch.set_flush_denormal(True)
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device = {name!r}: unknown; choose auto, cpu or cuda")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device = 'cuda': no GPU that torch can use; set device=cpu or device=auto")
    if name == "cpu":
        keep_freed_memory()
    if name == "cpu" or comm.world_size() == 1:
        return torch.device(name)
    if comm.local_rank() >= torch.cuda.device_count():
        raise UserError(
            f"device = 'cuda': process {comm.local_rank() + 1} of this machine has no GPU of its own; start with "
            f"--nproc-per-node={torch.cuda.device_count()}"
        )
    torch.cuda.set_device(comm.local_rank())
    return torch.device(name, comm.local_rank())


def device_name(device: torch.device) -> str:
    """The model name of the CPU or GPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
