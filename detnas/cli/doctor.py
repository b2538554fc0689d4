"""Facts about this machine, with warnings about what would slow or stop a run."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch

from detnas.utils.versions import versions

EXTRAS = ("onnx", "onnxruntime", "optuna_dashboard", "psycopg")
NEEDED_GB = 5
BUSY_LOAD = 0.6
"""Load, as a fraction of the cores, above which training with one thread per core slows down."""


def describe() -> Iterator[str]:
    """Human-readable lines; those that begin with "!" are warnings."""
    yield ", ".join(f"{name} {version}" for name, version in versions().items())
    yield f"CPU: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    if torch.get_num_threads() > (os.cpu_count() or 1):
        yield "! more threads than cores slow training several-fold: set OMP_NUM_THREADS to the number of cores"
    elif os.getloadavg()[0] > BUSY_LOAD * (os.cpu_count() or 1):
        yield (
            f"! other programs keep {os.getloadavg()[0]:.1f} cores busy (mean of the last minute); threads that wait "
            "for a core slow training several-fold: stop those programs, or set OMP_NUM_THREADS=1"
        )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            yield f"GPU {index}: {facts.name}, {facts.total_memory / 1e9:.0f} GB"
        if torch.cuda.device_count() > 1:
            yield f"To use all of them: torchrun --nproc-per-node={torch.cuda.device_count()} -m detnas run …"
    else:
        yield "GPU: none that torch can use; the recipes shapes-quick, shapes and own-data-quick are meant for CPUs"
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield f"Disk: {free:.0f} GB free in {Path.cwd()}"
    if free < NEEDED_GB:
        yield f"! a run may need {NEEDED_GB} GB: free some space, or choose another --out"
    yield "Extras: " + ", ".join(f"{name} {'yes' if find_spec(name) else 'no'}" for name in EXTRAS)
