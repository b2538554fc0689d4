"""Files are whole or absent, whatever happens while they are written."""

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT

from detnas.utils import files
from detnas.utils.errors import UserError
from detnas.utils.files import (
    acquire_lock,
    is_file,
    open_lock_file,
    read_bounded,
    read_json,
    read_json_lines,
    remove_unfinished,
    try_lock,
    write_file,
    write_json,
    write_json_lines,
    write_text,
)
from detnas.utils.seeds import derive_seed

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def files_in(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def write_some_and_fail(file: BinaryIO) -> None:
    file.write(b"new, but not all of it")
    raise RuntimeError("the disk is full")


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "größer")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "größer".encode()
    assert files_in(tmp_path) == ["a", "a/b", "a/b/c.txt"]


def test_a_failure_midway_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="disk is full"):
        write_file(path, write_some_and_fail)
    assert path.read_text() == "old" and files_in(tmp_path) == ["file"]
    write_text(path, "new")
    assert path.read_text() == "new" and files_in(tmp_path) == ["file"]


def test_a_failure_of_the_first_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="disk is full"):
        write_file(tmp_path / "file", write_some_and_fail)
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {"no": object()})
    assert files_in(tmp_path) == []


def test_the_file_stands_under_its_name_only_once_it_is_whole_and_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("replace"), replace(*names)))

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        assert not path.exists()
        file.write(b" and half")

    write_file(path, write)
    assert events == ["fsync", "replace"] and path.read_bytes() == b"half and half"


def test_a_killed_process_leaves_the_old_file_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    script = (
        "import os, pathlib, detnas.utils.files as files\n"
        "def write(file):\n"
        "    file.write(b'new')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), 9)\n"
        f"files.write_file(pathlib.Path({str(tmp_path / 'file')!r}), write)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert (tmp_path / "file").read_text() == "old"


# Subnormal ones aside: the trainings of other tests have the processor flush them.
FLOATS = st.floats(allow_nan=False, allow_subnormal=False)


@settings(max_examples=25, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | FLOATS | st.text(), st.lists))
def test_json_comes_back(value: object) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.json"
        write_json(path, value)
        assert read_json(path) == value
        write_json_lines(path, [{"value": value}, {}])
        assert read_json_lines(path) == [{"value": value}, {}]


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_json_lines(path) == []
    rows = [{"step": 1, "text": "a\nb\u2028c\x85d"}, {"step": 2}]
    write_json_lines(path, rows)
    assert read_json_lines(path) == rows
    whole = path.read_text()
    for torn in ("{", '{"step": 3', '{"step": 3}'):
        path.write_text(whole + torn)
        assert read_json_lines(path) == rows
    path.write_text('{"st')
    assert read_json_lines(path) == []


def test_seeds_are_the_same_for_ever_and_tell_their_parts_apart() -> None:
    # Pinned: every stored run continues with these.
    assert derive_seed(0) == 3456079177858693020
    assert derive_seed(0, "step", 1) == 2775395794364204430
    assert derive_seed("ä") == 1869956605081110566
    parts = [(0,), (0, 0), (1, 23), (12, 3), ("ab", "c"), ("a", "bc"), ("abc",), (0, "epoch", 1), (0, "sample", 1)]
    assert len({derive_seed(*part) for part in parts}) == len(parts)
    assert all(0 <= derive_seed(*part) < 2**63 for part in parts)


def test_a_name_that_cannot_be_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert is_file(tmp_path / "a")
    for name in ("b", "", "a/b", "x" * 5000, "a\0b"):
        assert not is_file(tmp_path / name)


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    """With one process id, as threads have, and the workers of several machines may have."""
    path = tmp_path / "a.json"
    texts = [str(index) * 50_000 for index in range(4)]

    def write_often(text: str) -> None:
        for _ in range(20):
            write_text(path, text)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_often, texts))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_killed_writers_are_removed_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    script = (
        "import os, sys, time, pathlib, detnas.utils.files as files\n"
        "def write(file):\n"
        "    print('writing', flush=True)\n"
        "    sys.stdin.readline()\n"
        "files.write_file(pathlib.Path('file'), write)\n"
    )
    start = partial(subprocess.Popen, [sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT)
    killed, living = (start(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2))
    for process in (killed, living):
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
    killed.kill()
    killed.communicate()
    (tmp_path / ".best.json.0123abcd.tmp").touch()
    (tmp_path / ".folder.tmp").mkdir()
    assert len(list(tmp_path.glob(".file.*.tmp"))) == 2
    remove_unfinished(tmp_path)
    assert len(list(tmp_path.glob(".file.*.tmp"))) == 1 and not (tmp_path / ".best.json.0123abcd.tmp").exists()
    living.communicate("\n")
    assert living.returncode == 0 and files_in(tmp_path) == [".folder.tmp", "file"]


def in_a_file(path: Path) -> Path:
    path.write_text("a file")
    return path / "a" / "file"


UNWRITABLE = {
    "in a file": in_a_file,
    "no such place": lambda path: Path("/proc/detnas/a"),
    "a folder": lambda path: path.parent,
    "long": lambda path: path / ("x" * 300),
}


@pytest.mark.parametrize("why", UNWRITABLE)
def test_what_cannot_be_written_is_said(why: str, tmp_path: Path) -> None:
    path = UNWRITABLE[why](tmp_path / "b")
    with pytest.raises(UserError, match=r"cannot be written \(.+\); make room for it there, or name another place"):
        write_text(path, "text")
    assert [name for name in files_in(tmp_path) if name.endswith(".tmp")] == []


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("ä" * 127), "text")
    assert files_in(tmp_path) == ["ä" * 127]


def test_the_size_limit_of_a_process_is_said(tmp_path: Path) -> None:
    script = (
        "import pathlib, resource, signal, detnas.utils.files as files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "files.write_text(pathlib.Path('file'), 'x' * 2000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "UserError: file: cannot be written (File too large)" in done.stderr and files_in(tmp_path) == []


def test_reading_is_bounded_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than"):
        read_bounded(path, 4)
    os.mkfifo(tmp_path / "pipe")
    for endless in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError):
            read_bounded(endless)


def test_who_holds_a_lock_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SAYS_AFTER", 0.01)
    script = (
        "import pathlib, sys\n"
        "from detnas.utils.files import open_lock_file, try_lock\n"
        "held = open_lock_file(pathlib.Path('lock'))\n"
        "print(try_lock(held), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    holder.send_signal(signal.SIGSTOP)
    said: list[str] = []

    def let_go(line: str) -> None:
        said.append(line)
        holder.send_signal(signal.SIGCONT)
        holder.communicate("\n")

    with open_lock_file(tmp_path / "lock") as file:
        acquire_lock(file, let_go)
        assert not try_lock(open_lock_file(tmp_path / "lock"), shared=True)
    who = f"process {holder.pid} (it is stopped)" if sys.platform == "linux" else "another process"
    assert said == [f"  waits for {tmp_path / 'lock'}, which {who} holds; end or continue that process"]
