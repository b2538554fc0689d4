"""The drawing of `data check`."""

from pathlib import Path

import numpy as np
import pytest
from make_coco import COLORS, read_coco, some_images, tree_of, write_coco
from PIL import Image

from detnas.config import DataSettings
from detnas.data.grid import CELL, MARGIN, STRIP, choose_file, choose_images, write_grid
from detnas.data.splits import open_data
from detnas.utils.errors import UserError


def test_chosen_images_show_every_category_and_are_the_same_each_time(tmp_path: Path) -> None:
    box = [2, 2, 9, 9]
    images = [(24, 24, [(1, box)])] * 40
    images[17], images[31] = (24, 24, [(2, box), (1, box)]), (24, 24, [(3, box), (2, box)])
    write_coco(tmp_path / "a.json", tmp_path, tree_of(images))
    data = read_coco(tmp_path / "a.json", tmp_path)
    assert choose_images(data, 2)[1] == 31  # where both rare ones are
    chosen = choose_images(data, 6)
    assert {17, 31} & set(chosen) and len(chosen) == 6 == len(set(chosen)) and chosen == sorted(chosen)
    assert {int(label) for index in chosen for label in data.labels[data.rows_of(index)]} == {0, 1, 2}
    assert choose_images(data, 6) == chosen and choose_images(data.subset([3, 4]), 6) == [0, 1]


def test_boxes_are_drawn_around_their_objects(tmp_path: Path) -> None:
    images = [(60, 40, [(2, [12, 8, 24, 20])])] + [(60, 40, [(1, [30, 20, 10, 10])])] * 19
    write_coco(tmp_path / "data/train.json", tmp_path / "data/train", tree_of(images))
    write_coco(tmp_path / "data/val.json", tmp_path / "data/val", tree_of(some_images(3)))
    data = open_data(tmp_path / "data", DataSettings(), seed=0)
    write_grid(tmp_path / "new" / "a.png", data)
    grid = np.asarray(Image.open(tmp_path / "new" / "a.png"))
    assert grid.shape == (3 * (CELL + STRIP), 4 * CELL, 3)  # eight of train, three of val
    scale = (CELL - MARGIN) / 60
    inside = grid[round(14 * scale) : round(26 * scale), round(14 * scale) : round(34 * scale)]
    assert (inside == COLORS[2]).all()
    for y, x in ((8, 24), (28, 24), (18, 12), (18, 36)):  # the middles of the sides
        near = grid[round(y * scale) - 3 : round(y * scale) + 3, round(x * scale) - 3 : round(x * scale) + 3]
        assert (near == (0, 191, 255)).all(axis=2).any()  # deepskyblue
    write_grid(tmp_path / "b.png", data)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "new" / "a.png").read_bytes()
    write_grid(tmp_path / "c.jpg", data)
    assert Image.open(tmp_path / "c.jpg").format == "JPEG"


def test_the_drawing_never_lies_in_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "set"
    (data / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert choose_file(Path("set"), None) == Path("runs/check-set.jpg")
    assert choose_file(data, tmp_path / "x.JPEG") == tmp_path / "x.JPEG"
    with pytest.raises(UserError, match=r"--out set/below/a.png: lies in the data folder"):
        choose_file(data, Path("set/below/a.png"))
    for out in ("a.gif", "a", "set.png"):
        (tmp_path / "set.png").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=rf"--out {out}: is not a file that ends in .png or .jpg or .jpeg"):
            choose_file(data, Path(out))
    monkeypatch.chdir(data / "below")
    assert choose_file(data, None) is None and choose_file(Path(".."), None) is None


def test_a_drawing_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", tmp_path / "train", tree_of(some_images(10)))
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"/file: cannot be written \(.*\); make room for it there, or name another place"
    ):
        write_grid(tmp_path / "file" / "a.png", open_data(tmp_path, DataSettings(), seed=0))
