"""What reaches a terminal: nothing that it obeys, and no traceback where it lacks a character."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
from PIL import Image
from shell import Shell
from small_recipe import write_blocks, write_recipe

NAMES = ["\x1b]0;PWNED\x07", "例\nforged: line", "\x9b31m\u202eright to left"]
TITLE = "\x1b]0;PWNED"


def hostile(folder: Path) -> Path:
    """A data set in a folder, of files and with classes whose names hold what terminals obey."""
    data = write_blocks(folder / "\x1b[31mdata")
    for split in ("train", "val"):
        tree = json.loads((data / f"{split}.json").read_text())
        for category, name in zip(tree["categories"], NAMES, strict=False):
            category["name"] = name
        for number, (image, name) in enumerate(zip(tree["images"], NAMES, strict=False)):
            renamed = f"{split}{number}{name}.png"
            (data / split / image["file_name"]).rename(data / split / renamed)
            image["file_name"] = renamed
        (data / f"{split}.json").write_text(json.dumps(tree))
    return data


def test_no_command_prints_what_a_terminal_obeys(tmp_path: Path, shell: Shell) -> None:
    data, recipe = hostile(tmp_path), write_recipe(tmp_path / "recipe.yaml", "retinanet")
    out, weights = tmp_path / "\x1b[32mrun", tmp_path / "\x1b[32mrun" / "detector.safetensors"
    said = [
        shell("data", "check", data, "--out", tmp_path / "\x1b[1mgrid.png"),
        shell("run", recipe, "--data", data, "--out", out),
        shell("status", out),
        shell("report", out),
        shell("evaluate", weights, "--data", data),
        shell("predict", weights, data / "val", "--out", tmp_path / "\x1b[1mdrawn"),
        shell("export", weights, "--format", "py", "--check", data / "val"),
        shell("status", tmp_path / "\x1b[2mno run", status=2),
        shell("run", "\x1b[2mrecipe", status=2),
        shell("run", recipe, "--set", "\x1b[2mkey=1", status=2),
        shell("predict", weights, tmp_path / "\x1b[2mno.png", "--out", tmp_path / "b", status=2),
    ]
    (data / "train" / f"train0{NAMES[0]}.png").write_text("no image")
    said.append(shell("data", "check", data, status=2))
    said.append(shell("run", recipe, "--data", data, "--out", out, status=2))
    for text in said:
        assert text.isprintable() or set(text) - {"\n"} <= set(filter(str.isprintable, text)), ascii(text)
    assert "\nforged" not in "".join(said) and "\\x1b]0;PWNED" in said[0]


def test_a_live_terminal_shows_escapes_as_text(tmp_path: Path) -> None:
    """There, the bars and tables are drawn with sequences of our own, and names stand among them."""
    data, recipe = hostile(tmp_path), write_recipe(tmp_path / "recipe.yaml", "retinanet")
    controller, terminal = pty.openpty()
    words = ["run", str(recipe), "--data", str(data), "--out", f"{tmp_path}/{TITLE}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"}
    command = [sys.executable, "-m", "detnas", *words, "--set", "baselines=[]"]
    with subprocess.Popen(command, env=environment, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(controller, 10_000):
                shown += part
        except OSError:  # the other side is closed
            pass
    os.close(controller)
    assert process.returncode == 0, shown
    assert TITLE.encode() not in shown and b"\\x1b]0;PWNED" in shown and b"\x1b[" in shown
    assert b"\x1b[31mdata" not in shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_character_that_the_terminal_lacks_is_replaced(encoding: str, tmp_path: Path) -> None:
    data = hostile(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for words, status in ((["data", "check", str(data)], 0), (["status", "例"], 2), (["--help"], 0)):
        command = [sys.executable, "-m", "detnas", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        assert done.returncode == status and b"Traceback" not in done.stderr, done.stderr
        if "--help" not in words:
            assert "\\u4f8b" in (done.stdout + done.stderr).decode(encoding)


def test_file_names_that_are_no_text_are_shown(tmp_path: Path, shell: Shell) -> None:
    """Linux allows any bytes in a name; Python reads those that are not UTF-8 as lone surrogates."""
    data = write_blocks(tmp_path / "data", val=0)
    folder = tmp_path / "yolo" / "images" / "train"
    folder.mkdir(parents=True)
    (folder.parents[1] / "labels" / "train").mkdir(parents=True)
    for number, file in enumerate(sorted((data / "train").iterdir())):
        name = os.fsdecode(b"\xff%d" % number)
        Image.open(file).save(folder / f"{name}.png")
        (folder.parents[1] / "labels" / "train" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "yolo" / "data.yaml").write_text("train: images/train\nnames: [red]\n")
    recipe = write_recipe(tmp_path / "recipe.yaml", "retinanet")
    shell("data", "check", tmp_path / "yolo")
    shell("run", recipe, "--data", tmp_path / "yolo", "--out", tmp_path / "run", "--set", "baselines=[]")
    drawn = shell("predict", tmp_path / "run/detector.safetensors", folder, "--out", tmp_path / "drawn")
    assert "\\udcff0.png" in drawn and "\\udcff" in (tmp_path / "run" / "report.html").read_text()
