"""The tutorial is walked as it is printed: its commands, in order, on a data set that lies where it says."""

import json
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from paths import DOCS, SHARED
from shell import Shell

TEXT = (DOCS / "tutorial.md").read_text()
TREES = SHARED / "data" / "trees"
"""What the tutorial was written on. Where it is absent, the embedded shapes."""
PROMISED = re.compile(r"`([\w./-]+\.(?:html|jpg|json|jsonl|onnx|safetensors))`")
NUMBER = re.compile(r"\d[\d.,]*(?:e[+-]?\d+)?|…")
UNITS = ("s", "min", "h")
"""Of times, which may have one of them or two."""
OF_THE_AUTHORS_MACHINE = (re.compile(r"latency_max=[\d.]+"), "latency_max=1000")

TRAININGS = ("supernet_finetune", "finetune")
SHORT = [
    *(f"{name}.{setting}" for name in TRAININGS for setting in ("steps=4", "warmup=1", "batch_size=2")),
    "search.evaluations=3",
    "search.population=2",
    "search.num_parents=2",
    "search.num_mutations=1",
    "search.num_crossovers=1",
    "search.recalibration_batches=1",
    "search.images=4",
    "detector.min_size=64",
    "detector.max_size=96",
    "detector.score_threshold=0",  # a network of four steps is sure of nothing
]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of the console blocks, and the lines that each is said to print."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        assert block.startswith("$ ")
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *printed = part.splitlines()
            yield command, printed


def shortened(command: str) -> list[str]:
    """The words of a command after `detnas`, with what makes a run short if it is one."""
    program, *words = shlex.split(re.sub(*OF_THE_AUTHORS_MACHINE, command))
    assert program == "detnas"
    changes = {"run": [*SHORT, "device=cpu"], "profile": ["device=cpu"]}.get(words[0], [])
    return [*words, *(word for change in changes for word in ("--set", change))]


def pattern(line: str) -> str:
    """Of a line that a command prints: its words, whatever the numbers between them, and what the text leaves out."""
    pieces = (" ".join(piece.split()) for piece in NUMBER.split(line))
    return ".*".join(re.escape(piece) for piece in pieces if piece not in UNITS)


def missing(printed: Iterable[str], said: str) -> list[str]:
    """The lines that were not said, in this order."""
    rest = iter(said.splitlines())
    return [line for line in printed if not any(re.match(pattern(line), " ".join(one.split())) for one in rest)]


def write_recipes(text: str, folder: Path) -> None:
    """Save each recipe under the last name before it."""
    for block in re.finditer(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        name = re.findall(r"`([\w-]+\.yaml)`", text[: block.start()])[-1]
        (folder / name).write_text(block[1])


@pytest.mark.slow
def test_the_tutorial_can_be_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> None:
    monkeypatch.chdir(tmp_path)
    if TREES.exists():
        shutil.copytree(TREES, "my-data")
    else:
        shell("data", "shapes", "my-data", "--train", 24, "--val", 6, "--size", 64)
    write_recipes(TEXT, tmp_path)
    category = json.loads(Path("my-data/train.json").read_text())["categories"][0]["name"]
    walked = 0
    for command, printed in commands(TEXT.replace("Tree ", f"{category} ")):
        if not command.startswith("pip install "):
            said = shell(*shortened(command))
            assert missing(printed, said) == [], f"{command}\n{said}"
            walked += 1
    assert walked > 10
    promised = PROMISED.findall(TEXT)
    assert "runs/own-data-quick/report.html" in promised and "det.onnx" in promised
    assert [file for file in promised if not (Path(file).exists() or Path("my-data", file).exists())] == []
