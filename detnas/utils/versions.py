"""The versions that results depend on."""

import platform

import torch
import torchvision

from detnas.version import __version__


def versions() -> dict[str, str]:
    """Of detnas, torch, torchvision and Python."""
    return {
        "detnas": __version__,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "python": platform.python_version(),
    }
