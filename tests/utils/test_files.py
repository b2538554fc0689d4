"""Files are whole or absent, whatever happens while they are written."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detnas.utils.files import is_file, read_json, read_json_lines, write_file, write_json, write_json_lines, write_text
from detnas.utils.seeds import derive_seed


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
