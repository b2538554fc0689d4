"""The drawing of a backbone, with ops that detnas knows nothing of."""

from detnas.report.drawing import draw
from detnas.spaces import search_space


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
