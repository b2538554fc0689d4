"""The drawing of a backbone, with ops that detnas knows nothing of."""

import re
from dataclasses import replace
from importlib.resources import files

import pytest

from detnas.report.drawing import draw, style
from detnas.spaces import search_space
from detnas.spaces.block import HeadSpace


def test_an_own_op_is_drawn_by_its_digit_and_the_name_of_its_class() -> None:
    space = search_space("tiny", repeats=[1, 2, 1, 1], ops=["xception", "my.blocks:InvertedResidual", "shuffle7"])
    drawing = draw("1 02 1 0", space)
    assert drawing is not None and drawing.ops == ["xception", "my.blocks:InvertedResidual", "shuffle7"]
    blocks = [block for stage in drawing.stages for block in stage.blocks]
    assert [block.caption for block in blocks] == [
        "conv",
        "InvertedResi",
        "xception",
        "shuffle",
        "InvertedResi",
        "xception",
    ]
    assert [block.label for block in blocks] == ["3×3", "1", "3×3", "7×7", "1", "3×3"]  # noqa: RUF001
    assert "128 channels" in drawing.text and "my.blocks:InvertedResidual" in drawing.text
    assert draw("3 02 1 0", space) is None


def test_without_ops_a_recipe_has_ours() -> None:
    drawing = draw("12 30 0000 00", search_space("tiny"))
    assert drawing is not None and drawing.ops == ["shuffle3", "shuffle5", "shuffle7", "xception"]
    assert draw("14 30 0000 00", search_space("tiny")) is None


def test_a_mobile_network_is_drawn_with_its_fixed_block_and_the_blocks_that_are_left_out() -> None:
    space = search_space("mobile")
    drawing = draw("33 04 034 142 1104 0", space)
    assert drawing is not None and drawing.ops == list(space.ops) and drawing.has_expansions
    stem, *stages = drawing.stages
    assert [(block.label, block.caption, block.style) for block in stem.blocks] == [
        ("3×3", "conv", "stem"),  # noqa: RUF001
        ("3×3", "mbconv1", "stem"),  # noqa: RUF001
    ]
    assert stem.note.startswith("16 channels, 1/2")
    assert [stage.note for stage in stages] == [
        "24 channels, 1/4",
        "40 channels, 1/8",
        "80 channels, 1/16, as in stage 4",
        "112 channels, 1/16",
        "192 channels, 1/32, as in stage 6",
        "320 channels, 1/32",
    ]
    assert [[block.stride for block in stage.blocks] for stage in stages[2:4]] == [[2, 1, 1], [1, 1, 1]]
    last = stages[2].blocks[-1]
    assert (last.label, last.caption, last.style) == ("skip", "", "left-out")
    first = stages[0].blocks[0]
    assert (first.label, first.caption, first.style) == ("5×5", "mbconv3", "mbconv3_k5")  # noqa: RUF001
    assert "Stage 2 (40 channels, 1/8): mbconv6_k3, skip (left out)." in drawing.text
    assert "Stem (16 channels, 1/2 of the image's size): convolution 3x3, mbconv1_k3 (fixed)." in drawing.text


@pytest.mark.parametrize("name", ["tiny", "mobile", "mobile-lite4"])
def test_every_op_of_the_named_spaces_has_a_color_of_its_own(name: str) -> None:
    styles = [style(op) for op in search_space(name).ops]
    css = files("detnas.report").joinpath("style.css").read_text()
    rules = [re.search(rf"\.{one} \.face {{ ([^}}]+)", css) for one in styles]
    assert all(rules) and len({rule[1] for rule in rules if rule}) == len(styles)


def test_resolution_and_head_are_drawn_where_they_are_choices() -> None:
    head = HeadSpace(("full", "separable", "skip"), (((0, 1, 2), (0, 1, 2)), ((0, 1, 2), (0, 1, 2))))
    space = replace(search_space("tiny"), resolutions=(96, 128), head=head)
    drawing = draw("128 | 12 30 0000 00 + 01 20", space)
    assert drawing is not None
    stem, *_, first, second = drawing.stages
    assert stem.note == "16 channels, 1/2 of the size of images with 128 pixels"
    assert [(one.title, one.note) for one in (first, second)] == [("Head", "tower 1 of 2"), ("Head", "tower 2 of 2")]
    blocks = [*first.blocks, *second.blocks]
    assert [block.caption or block.label for block in blocks] == ["full", "separable", "skip", "full"]
    assert [block.style for block in blocks] == ["stem", "custom", "left-out", "stem"]
    assert first.y < second.y < drawing.height and drawing.ops == ["shuffle3", "shuffle5", "shuffle7", "xception"]
    for other in ("12 30 0000 00", "64 | 12 30 0000 00 + 01 20", "128 | 12 30 0000 00"):
        assert draw(other, space) is None


def test_a_wider_block_has_the_color_of_its_kernel_and_says_its_width() -> None:
    space = search_space("tiny", ops=["shuffle3", "shuffle5_half", "shuffle3_wide", "skip"])
    drawing = draw("00 10 2130 00", space)
    assert drawing is not None
    blocks = [block for stage in drawing.stages for block in stage.blocks if block.op]
    assert (blocks[2].label, blocks[2].caption, blocks[2].style) == ("5×5", "width 0.5", "shuffle5")  # noqa: RUF001
    assert (blocks[4].caption, blocks[4].style) == ("width 1.5", "shuffle3")
