"""Small runs with finals, and what such a run finds out."""

from pathlib import Path
from typing import Any

from small_recipe import training

from detnas.utils.files import read_json, read_json_lines

CHANGES: dict[str, Any] = {
    "finals": {"challengers": 4, "incumbents": 2, "rungs": [0.5, 1.0]},
    "search__evaluations": 12,
    "search__population": 6,
    "pretraining__source": "none",
    "supernet_finetune": training(steps=8, checkpoint_every=4),
    "finetune": training(steps=8, checkpoint_every=4),
    "baselines": ["random"],
}


def found(run: Path) -> dict[str, Any]:
    """All that a run finds out, without its times."""
    rows = [{**row, "seconds": 0} for row in read_json_lines(run / "search" / "candidates.jsonl")]
    files = [*run.glob("finals/**/detections.json"), *run.glob("finetune/*/detections.json")]
    detections = {str(file.relative_to(run)): file.read_bytes() for file in files}
    weights = (run / "detector.safetensors").read_bytes()
    return {"rows": rows, "finals": read_json(run / "finals" / "best.json"), "weights": weights, **detections}
