"""Packed paths: a sequence of paths, of which a forked process copies nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detnas.data.packed_paths import PackedPaths

# All that may stand in a name on a POSIX system, bytes that are no UTF-8 included.
NAMES = st.binary(min_size=1, max_size=8).filter(lambda name: not set(name) & {0, ord("/")})
PATHS = st.lists(
    st.builds(
        lambda root, parts: Path(root, *(part.decode("utf-8", "surrogateescape") for part in parts)),
        st.sampled_from(["/", "/data/train", "", "data"]),
        st.lists(NAMES, max_size=3),
    ),
    max_size=8,
)


@given(PATHS, st.data())
def test_packed_paths_are_a_sequence_of_the_same_paths(paths: list[Path], data: st.DataObject) -> None:
    packed = PackedPaths(paths)
    assert len(packed) == len(paths) and list(packed) == paths
    assert packed == paths and packed == tuple(paths) and tuple(paths) == packed and packed == PackedPaths(paths)
    assert packed != [*paths, Path("one more")] and packed != "paths"
    assert all(packed[-1 - place] == path for place, path in enumerate(reversed(paths)))
    cut = data.draw(st.slices(len(paths)))
    assert packed[cut] == paths[cut]
    if paths:
        indices = data.draw(st.lists(st.integers(0, len(paths) - 1), max_size=6))
        assert packed.take(indices) == [paths[index] for index in indices]
        assert packed.count(paths[0]) == paths.count(paths[0]) and paths[0] in packed
    with pytest.raises(IndexError):
        packed[len(paths)]


def test_strings_are_taken_for_paths() -> None:
    assert list(PackedPaths(["a//b/./c.png", "a/d.png"])) == [Path("a/b/c.png"), Path("a/d.png")]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_forked_process_that_reads_a_data_set_copies_nothing_of_it() -> None:
    script = Path(__file__).with_name("forked.py")
    packed, listed = map(int, subprocess.check_output([sys.executable, script], text=True).split())
    assert packed < 1_000_000 < 3_000_000 < listed
