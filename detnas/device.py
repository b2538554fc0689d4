"""Which device computes, and how a CPU is set up."""

import torch

from detnas.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device that a recipe asks for: "cpu", "cuda" or "auto". Raises `UserError` if there is no such device."""
    # Weights that decay towards zero become denormal numbers, which slow a CPU several-fold.
    torch.set_flush_denormal(True)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device = 'cuda': no GPU that torch can use; set device=cpu or device=auto")
    return torch.device(name)
