"""What the warm start is worth: python bench/warm_start.py writes bench/results/warm_start.json.

Pre-trains the supernet of `shapes-quick` with and without it for the same number of steps, and keeps the accuracy on
the training batches (random paths) over the steps. About three minutes on two cores.
"""

import shutil
from pathlib import Path

from machine import machine

from detnas.files import read_json_lines, write_json
from detnas.pipeline import run
from detnas.progress import Progress


def accuracies(warm_start: int) -> dict[int, float]:
    directory = Path("runs") / f"warm-start-{warm_start}"
    changes = (f"warm_start={warm_start}",)
    run("shapes-quick", directory, changes=changes, progress=Progress(), stages=("supernet-pretrain",))
    rows = read_json_lines(directory / "supernet-pretrain" / "metrics.jsonl")
    tenth = max(1, len(rows) // 10)
    means = {
        rows[start + tenth - 1]["step"]: round(sum(row["accuracy"] for row in rows[start : start + tenth]) / tenth, 3)
        for start in range(0, len(rows) - tenth + 1, tenth)
    }
    shutil.rmtree(directory)
    return means


def main() -> None:
    results = {name: accuracies(steps) for name, steps in (("without", 0), ("with 400 steps of warm start", 400))}
    write_json(
        Path(__file__).parent / "results" / "warm_start.json",
        {"recipe": "shapes-quick", "machine": machine(), "accuracy by step (12 classes)": results},
    )


if __name__ == "__main__":
    main()
