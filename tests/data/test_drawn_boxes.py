"""Boxes and their names as they are drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from make_coco import some_images, tree_of, write_coco
from PIL import Image, ImageFont

from detnas.config import DataSettings
from detnas.data.drawing import MAX_LETTERS, caption, draw_boxes, drawable, legend
from detnas.data.grid import write_grid
from detnas.data.splits import open_data

NAMES = st.text(min_size=1, max_size=12)


def drawn(text: str) -> bytes:
    """The pixels of an image with one box of this caption."""
    boxes = np.array([[2.0, 2.0, 60.0, 30.0]])
    return draw_boxes(torch.zeros(3, 32, 1000, dtype=torch.uint8), boxes, [0], [text]).numpy().tobytes()


@pytest.mark.parametrize("name", ["person", "traffic light", "a-b_c.d (2)", "50% off!"])
def test_what_the_font_has_is_drawn_as_it_is(name: str) -> None:
    assert caption(name, 3) == drawable(name) == name and legend([(3, name)]) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("é", "#3 \\xe9"),
        ("Früchte", "#3 Fr\\xfcchte"),
        ("ж", "#3 \\u0436"),
        ("人", "#3 \\u4eba"),
        ("cat 😀", "#3 cat \\U0001f600"),
        ("a\tb", "#3 a\\tb"),
        ("a\u200bb", "#3 a\\u200bb"),
        ("\udc80", "#3 \\udc80"),
        ("a\u0301", "#3 a\\u0301"),
        ("x" * 70, f"#3 {'x' * MAX_LETTERS}..."),
    ],
)
def test_a_name_with_letters_that_the_font_lacks_has_its_number(name: str, shown: str) -> None:
    assert caption(name, 3) == shown
    assert legend([(2, "dog"), (3, name)]) == [f"Drawn as numbers, for want of letters in the font: #3 = {name}"]


@given(NAMES, NAMES)
def test_different_names_look_different(name: str, other: str) -> None:
    if name != other and name.strip(" ") and other.strip(" "):
        # Of two data sets, in which they have one number; and every letter that is drawn can be seen.
        assert caption(name, 1) != caption(other, 1)
        if len({name.rstrip(" "), other.rstrip(" ")}) == 2:
            assert drawn(caption(name, 1)) != drawn(caption(other, 1))


def test_a_font_without_letters_beyond_ascii_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bitmap font of a Pillow without FreeType."""
    from detnas.data.drawing import _has_glyph

    _has_glyph.cache_clear()
    monkeypatch.setattr(ImageFont, "load_default", ImageFont.load_default_imagefont)
    try:
        assert drawable("dog 2") == "dog 2" and drawable("人") == "\\u4eba"
    finally:
        _has_glyph.cache_clear()


@pytest.mark.parametrize("names", [("é", "ü"), ("ж", "ш"), ("人", "狗"), ("猫", "猫 x"), ("ä", "a")])
def test_drawings_of_data_sets_with_different_names_differ(names: tuple[str, str], tmp_path: Path) -> None:
    seen = []
    for name in names:
        tree = tree_of(some_images(8))
        tree["categories"][0]["name"] = name
        write_coco(tmp_path / name / "train.json", tmp_path / name / "train", tree)
        write_grid(tmp_path / f"{name}.png", open_data(tmp_path / name, DataSettings(), seed=0))
        seen.append((tmp_path / f"{name}.png").read_bytes())
    assert seen[0] != seen[1]


def test_names_of_files_differ_in_the_grid(tmp_path: Path) -> None:
    seen = []
    for name in ("图.png", "狗.png"):
        tree = tree_of([(24, 24, [(1, [2, 2, 9, 9])])] * 8)
        write_coco(tmp_path / name / "train.json", tmp_path / name / "train", tree)
        for image in tree["images"][:4]:
            (tmp_path / name / "train" / image["file_name"]).rename(tmp_path / name / "train" / f"{image['id']}{name}")
            image["file_name"] = f"{image['id']}{name}"
        write_coco(tmp_path / name / "train.json", tmp_path / name / "train", tree)
        write_grid(tmp_path / f"{name}.png", open_data(tmp_path / name, DataSettings(), seed=0))
        seen.append(Image.open(tmp_path / f"{name}.png").tobytes())
    assert seen[0] != seen[1]
