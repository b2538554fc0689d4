"""Checkpoints: what a training that was cut continues from, and where later stages take the weights from."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detnas import processes
from detnas.files import write_file

CHECKPOINT = "checkpoint.pt"


def load_weights(model: nn.Module, directory: Path, part: str = "") -> None:
    """Load into `model` the weights of the checkpoint in `directory`, or those of its module named `part`."""
    prefix = f"{part}." if part else ""
    weights = _read(directory)["model"]
    model.load_state_dict({name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)})


def save_checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, directory: Path) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    write_file(directory / CHECKPOINT, lambda file: torch.save(state, file))


def resume(model: nn.Module, optimizer: torch.optim.Optimizer, directory: Path) -> int:
    """Load the checkpoint if there is one; returns the number of steps done."""
    if not processes.from_first((directory / CHECKPOINT).exists):
        return 0
    state = _read(directory)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _read(directory: Path) -> dict[str, Any]:
    content = processes.bytes_from_first((directory / CHECKPOINT).read_bytes)  # the others need not see the directory
    state: dict[str, Any] = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    return state
