"""Whether sums of block latencies predict the latencies of networks.

`tiny` and `mobile` are measured at the input size of the recipes own-data-scratch and own-data-quick, and `small` at
that of own-data, by PyTorch and by ONNX Runtime, with the protocol of `detnas profile --latency`.
"""

import tempfile
from pathlib import Path

import typer

from benchmarks.command import save
from detnas.config import load_recipe
from detnas.profiling.latency.profile import profile_latency
from detnas.utils.files import read_json

FROM_SCRATCH = ("pretraining.source=none", "pretraining.weights=null", "baselines=[]")
CASES: dict[str, tuple[str, ...]] = {
    "own-data-scratch": (),
    "own-data-quick": (),
    "own-data": ("space.name=small", *FROM_SCRATCH),
}
"""Recipes and changes."""


def main() -> None:
    """Measure latencies, in three to five minutes on two idle cores; write benchmarks/results/latency.json."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in CASES.items():
            for line in profile_latency(load_recipe(name, ["device=cpu", *changes]), Path(folder)):
                print(line)
        for file in sorted(Path(folder).iterdir()):
            table = read_json(file)
            key = f"{table['space']}, {table['backend']}"
            found[key] = {name: table[name] for name in ("height", "width", "threads", "excess_us", "check")}
    save("latency", {"spaces": found})


if __name__ == "__main__":
    typer.run(main)
