"""The shapes of a run: drawn once, drawn again when others are asked for, and nothing else is ever removed."""

from pathlib import Path

import pytest

from detnas.config import ShapesSettings
from detnas.data.shapes.write import prepare_shapes
from detnas.utils.errors import UserError
from detnas.utils.files import read_json

FEW = ShapesSettings(train=3, val=1, size=32, crops=12, crop_size=16)
MORE = FEW.model_copy(update={"train": 4})


def draw(directory: Path, settings: ShapesSettings) -> bool:
    """Whether something was drawn."""
    said: list[str] = []
    prepare_shapes(directory, settings, log=said.append)
    assert all(str(directory) in line for line in said)
    return bool(said)


def test_they_are_drawn_once(tmp_path: Path) -> None:
    assert draw(tmp_path / "data", FEW)
    assert read_json(tmp_path / "data" / "shapes.json") == FEW.model_dump()
    assert not draw(tmp_path / "data", FEW)


def test_others_are_drawn_again(tmp_path: Path) -> None:
    draw(tmp_path / "data", FEW)
    assert draw(tmp_path / "data", MORE)
    assert len(read_json(tmp_path / "data" / "train.json")["images"]) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_that_was_not_drawn_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train.json").write_text("mine")
    with pytest.raises(UserError, match=r"data: exists and was not drawn .* --out") as refusal:
        draw(tmp_path / "data", FEW)
    assert "\n" not in str(refusal.value)
    assert (tmp_path / "data" / "train.json").read_text() == "mine"
