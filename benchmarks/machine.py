"""The machine that a benchmark ran on, as its JSON names it."""

import os
import platform

import torch

from detnas.distributed.device import device_name


def machine() -> dict[str, object]:
    """Processor, cores that this process may use, threads, GPU and versions."""
    return {
        "cpu": device_name(torch.device("cpu")),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
