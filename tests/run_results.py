"""What a run has found and left on the disk, for comparisons of runs."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from small_recipe import checkpoint

from detnas.cli.main import main

NETWORKS = ("winner", "shuffle3", "random")


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit status of `detnas WORDS`."""
    monkeypatch.setattr(sys, "argv", ["detnas", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }


def results(run: Path) -> dict[str, Any]:
    """All that a run finds out, without its times."""
    lines = [json.loads(line) for line in (run / "search" / "candidates.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
    best = json.loads((run / "search" / "best.json").read_text())
    best.pop("seconds")
    found: dict[str, Any] = {"tensors": load_file(run / "detector.safetensors"), "candidates": lines, "best": best}
    for name in NETWORKS:
        found[name] = json.loads((run / "finetune" / name / "evaluation.json").read_text())
        found[f"{name} detections"] = json.loads((run / "finetune" / name / "detections.json").read_text())
        found[f"{name} checkpoint"] = checkpoint(run / "finetune" / name)
    return found
