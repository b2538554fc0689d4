"""What killed processes leave is removed by the next run of the directory, and nothing of a living one."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from detnas.config import ShapesSettings
from detnas.data.shapes.write import write_shapes
from detnas.rundir.directory import claim
from detnas.utils.files import temporary_folder

WRITER = """
import sys
from pathlib import Path
from detnas.utils.files import temporary_folder, write_file

def write(file):
    file.write(b"half")
    file.flush()
    with temporary_folder(Path(sys.argv[1]), ".data-") as folder:
        (folder / "half").touch()
        print("writes", flush=True)
        sys.stdin.read()

write_file(Path(sys.argv[1]) / "search" / "best.json", write)
"""


def begin_writing(run: Path) -> subprocess.Popen[str]:
    """A process that is writing a file, and drawing a data set, in a run directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "writes\n"
    return process


def unfinished(run: Path) -> list[str]:
    return sorted(path.name[:6] for path in run.rglob(".*") if path.suffix == ".tmp" or path.name.startswith(".data-"))


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
def test_leftovers_of_the_killed_are_removed_and_nothing_of_the_living(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    processes = [begin_writing(run), begin_writing(run)]
    names = sorted(path.name for path in (run / "search").iterdir() if path.suffix == ".tmp")
    assert unfinished(run) == [".best.", ".best.", ".data-", ".data-"] and len(names) == 2
    processes[0].kill()
    processes[0].wait()
    with claim(run, shared=True):  # others may be at work that hold it so
        assert len(unfinished(run)) == 4
    with claim(run):
        assert unfinished(run) == [".best.", ".data-"]
    processes[1].communicate("")
    assert processes[1].returncode == 0 and (run / "search/best.json").read_bytes() == b"half"
    assert unfinished(run) == []


def test_a_killed_drawing_is_removed_by_the_next(tmp_path: Path) -> None:
    process = begin_writing(tmp_path)
    with temporary_folder(tmp_path, ".data-") as mine:
        assert mine.is_dir() and len(list(tmp_path.glob(".data-*"))) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(tmp_path.glob(".data-*"))) == 1
    (tmp_path / ".data-of-somebody").mkdir()
    write_shapes(tmp_path / "data", ShapesSettings(train=1, val=1, size=32, crops=0))
    assert [path.name for path in tmp_path.glob(".data-*")] == [".data-of-somebody"]
    assert (tmp_path / "data" / "shapes.json").is_file() and not (tmp_path / "data" / ".lock").exists()
