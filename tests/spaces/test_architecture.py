"""Architectures and the spaces that they belong to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detnas.spaces import PAPER_OPS, Architecture, SearchSpace, search_space
from detnas.spaces.named import SPACES
from detnas.utils.errors import UserError

ARCHITECTURES = st.builds(
    Architecture,
    st.lists(st.lists(st.integers(0, 9), min_size=1).map(tuple), min_size=1).map(tuple),
    st.none() | st.integers(1, 8192),
    st.just(()) | st.lists(st.lists(st.integers(0, 9), min_size=1).map(tuple), min_size=1).map(tuple),
)


@given(ARCHITECTURES)
def test_text_gives_the_same_architecture_back(architecture: Architecture) -> None:
    assert Architecture.parse(str(architecture)) == architecture
    assert hash(Architecture.parse(str(architecture))) == hash(architecture)


def test_text_is_the_digits_stage_by_stage() -> None:
    architecture = Architecture.parse("2120 2112 33130031 3132")
    assert architecture.stages == ((2, 1, 2, 0), (2, 1, 1, 2), (3, 3, 1, 3, 0, 0, 3, 1), (3, 1, 3, 2))
    assert architecture.ops == (2, 1, 2, 0, 2, 1, 1, 2, 3, 3, 1, 3, 0, 0, 3, 1, 3, 1, 3, 2)
    assert str(architecture) == "2120 2112 33130031 3132"
    assert str(Architecture.parse("  21   3 ")) == "21 3"
    with_resolution = Architecture.parse("256|21 3")
    assert (with_resolution.resolution, with_resolution.ops) == (256, (2, 1, 3))
    assert (str(with_resolution), with_resolution.hyphenated) == ("256 | 21 3", "256_21-3")
    with_head = Architecture.parse("256 | 21 3 +01 2")
    assert (with_head.ops, with_head.head, with_head.head_ops) == ((2, 1, 3), ((0, 1), (2,)), (0, 1, 2))
    assert (str(with_head), with_head.hyphenated) == ("256 | 21 3 + 01 2", "256_21-3_01-2")


@given(st.text())
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    readable = bool(text.strip(" ")) and set(text) <= set("0123456789 ")
    if readable:
        assert "".join(map(str, Architecture.parse(text).ops)) == text.replace(" ", "")
    else:
        with pytest.raises(UserError, match=r"one digit 0-9 for each block") as refusal:
            Architecture.parse(text)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "256 |",
        "| 21",
        "a | 21",
        "1 | 2 | 3",
        "21 +",
        "+ 21",
        "1 + 2 + 3",
        "99999 | 2",
        "2a4",
        "2,1",
        "2\n1",
        "2\t1",
        "-1",
        "²1",
        "0x1",
    ],
)
def test_text_that_is_no_architecture_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        Architecture.parse(text)


@pytest.mark.parametrize("op", [-1, 10])
def test_an_op_that_does_not_exist_is_refused(op: int) -> None:
    with pytest.raises(UserError, match=f"op {op} is not one of 0-9"):
        Architecture(((0, op),))


@given(st.sampled_from(sorted(SPACES)), st.data())
def test_a_space_builds_the_architecture_of_its_ops(name: str, data: st.DataObject) -> None:
    space = search_space(name)
    ops = data.draw(st.lists(st.integers(0, 3), min_size=len(space.blocks), max_size=len(space.blocks)))
    architecture = space.architecture(ops)
    space.check(architecture)
    assert architecture.ops == tuple(ops)
    assert tuple(map(len, architecture.stages)) == space.repeats


def test_a_space_refuses_what_does_not_fit_it() -> None:
    space = search_space("small")
    with pytest.raises(UserError, match="has 20 blocks, but 19 ops"):
        space.architecture([0] * 19)
    for text in (
        "2120 2112 33130031 3142",
        "2120 2112 3313003 3132",
        "2120 2112 33130031 313 2",
        "2120211233130031 3132",
    ):
        with pytest.raises(UserError, match="space small"):
            space.check(Architecture.parse(text))
        with pytest.raises(UserError, match="space small"):
            space.cost(Architecture.parse(text))


def test_uniform_is_one_op_in_every_block() -> None:
    for index, op in enumerate(PAPER_OPS):
        assert set(search_space("tiny").uniform(op).ops) == {index}


@pytest.mark.parametrize(("name", "blocks"), [("small", 20), ("large", 40)])
def test_the_size_of_a_space_counts_its_architectures(name: str, blocks: int) -> None:
    assert search_space(name).size == 4**blocks


def test_blocks_follow_each_other_and_halve_at_each_stage() -> None:
    blocks = search_space("small").blocks
    assert [block.out_channels for block in blocks[:-1]] == [block.in_channels for block in blocks[1:]]
    assert [place for place, block in enumerate(blocks) if block.stride == 2] == [0, 4, 8, 16]
    assert [blocks[place].stage for place in (0, 4, 8, 16)] == [0, 1, 2, 3]
    assert blocks[0].in_channels == 16


@pytest.mark.parametrize("width", [0.25, 0.5, 0.77, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("name", sorted(SPACES))
def test_width_scales_all_channels_to_multiples_of_four(name: str, width: float) -> None:
    space, plain = search_space(name, width), search_space(name)
    assert space.repeats == plain.repeats
    for scaled, channels in zip((space.stem, *space.channels), (plain.stem, *plain.channels), strict=True):
        assert scaled % 4 == 0
        assert abs(scaled - channels * width) <= 2
    assert (space == plain) == (width == 1.0)
    assert (space.name == plain.name) == (width == 1.0)


def test_spaces_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="'smal' is unknown; choose one of small, large, tiny"):
        search_space("smal")
    for width in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="width"):
            search_space("small", width)
    with pytest.raises(UserError, match="multiples of 4"):
        SearchSpace("odd", 6, (16, 32), (1, 1))


def test_a_stage_that_is_not_wider_than_the_one_before_is_refused() -> None:
    # A stride-2 block keeps its input channels in the projection and must have some left for the main branch.
    for stem, channels in ((8, (8, 16)), (4, (8, 8)), (4, (16, 8))):
        with pytest.raises(UserError, match="wider"):
            SearchSpace("narrow", stem, channels, (1, 1))
    with pytest.raises(UserError, match="wider"):
        search_space("tiny", 0.1)


def test_a_space_with_an_entry_too_many_or_an_empty_stage_is_refused() -> None:
    for repeats in ((1,), (1, 1, 1), (1, 0), (1, -1)):
        with pytest.raises(UserError, match="repeats"):
            SearchSpace("uneven", 4, (8, 16), repeats)


def test_ops_and_input_sizes_that_there_are_not_are_refused() -> None:
    space = search_space("tiny")
    with pytest.raises(UserError, match=r"'shuffle4' is unknown; did you mean shuffle"):
        space.uniform("shuffle4")
    for size in (0, -5):
        with pytest.raises(UserError, match=f"size {size} "):
            space.cost(space.uniform("shuffle3"), size)
