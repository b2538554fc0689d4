"""Whether sums of block latencies predict the latencies of whole networks.

The backbones of `tiny` and `mobile` are measured at the input size of the recipes own-data-scratch and own-data-quick,
and those of `small` at that of own-data; and the whole detectors of own-data-quick and of shapes-quick-fpn with a
choice of resolution and head. By PyTorch and by ONNX Runtime, with the protocol of `detnas profile --latency`.
"""

import tempfile
from pathlib import Path

import typer

from benchmarks.command import save
from detnas.config import load_recipe
from detnas.profiling.latency.profile import profile_latency
from detnas.utils.files import read_json

FROM_SCRATCH = ("pretraining.source=none", "pretraining.weights=null", "baselines=[]")
DETECTORS = (
    "budget.of=detector",
    "budget.macs_min=null",
    "budget.macs_max=null",
    "space.head_ops=[full,separable,skip]",
)
CASES: tuple[tuple[str, ...], ...] = (
    ("own-data-scratch", "budget.of=backbone"),
    ("own-data-quick",),
    ("own-data", "space.name=small", *FROM_SCRATCH),
    ("own-data-quick", *DETECTORS, "space.resolutions=[192,256,320]"),
    ("shapes-quick-fpn", *DETECTORS, "space.resolutions=[64,96]"),
)
"""Recipes and changes."""


def main() -> None:
    """Measure latencies, in about ten minutes on two idle cores; write benchmarks/results/latency.json."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, *changes in CASES:
            for line in profile_latency(load_recipe(name, ["device=cpu", *changes]), Path(folder)):
                print(line)
        for file in sorted(Path(folder).iterdir()):
            kept = read_json(file)
            found[file.stem.removeprefix("latency-")] = {
                "threads": kept["tables"][0]["threads"],
                "corrections": kept["corrections"],
                "check": kept["check"],
            }
    save("latency", {"measured": found})


if __name__ == "__main__":
    typer.run(main)
