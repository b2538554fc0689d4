"""What the commands have in common: two options, the machine's description, and where results are written."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from detnas.distributed.device import device_name
from detnas.utils.files import write_json
from detnas.utils.posix import cores

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
Tiny = Annotated[bool, typer.Option("--tiny", help="A quick trial, whose results are printed and not kept.")]
Keep = Annotated[
    Path | None, typer.Option("--keep", metavar="DIR", help="Train the supernets in DIR, or take those that are there.")
]


def machine() -> dict[str, object]:
    """Processor, cores that this process may use, threads, GPU and versions."""
    return {
        "cpu": device_name(torch.device("cpu")),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def save(name: str, results: Mapping[str, Any], tiny: bool = False) -> None:
    """Write benchmarks/results/NAME.json, with the machine that this is; after a trial, print it instead."""
    results = {"machine": machine(), **results}
    if tiny:
        print(json.dumps(results, indent=1))
    else:
        write_json(RESULTS / f"{name}.json", results)
