"""Boxes as large as a detector sees them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from make_coco import read_coco, tree_of, write_coco

from detnas.config import FPNSettings
from detnas.data.box_sizes import resized_box_sizes
from detnas.models.detectors.geometry import ImageTransform

IMAGES = [
    (64, 48, [(1, [4.0, 6.0, 20.0, 30.5]), (2, [60.0, 40.0, 4.0, 8.0])]),
    (100, 31, [(1, [0.0, 0.0, 100.0, 31.0])]),
    (30, 90, [(3, [2.0, 3.0, 1.0, 50.0]), (3, [5.0, 5.0, 10.0, 10.0])]),
    (50, 60, []),
]


@pytest.mark.parametrize("geometry", ["torchvision", "maskrcnn-benchmark"])
@pytest.mark.parametrize("sides", [(32, 48), (96, 160)])
def test_they_are_as_large_as_in_the_images_that_the_detector_resizes(
    geometry: str, sides: tuple[int, int], tmp_path: Path
) -> None:
    tree = tree_of(IMAGES)
    tree["annotations"][4]["iscrowd"] = 1  # the last
    write_coco(tmp_path / "a.json", tmp_path / "a", tree)
    data = read_coco(tmp_path / "a.json", tmp_path / "a")
    settings = FPNSettings.model_validate({"min_size": sides[0], "max_size": sides[1], "geometry": geometry})
    transform = ImageTransform(settings).train()
    expected = []
    for index, (width, height) in enumerate(data.sizes.tolist()):
        boxes, labels = data.training_boxes(index)
        target = {"boxes": torch.from_numpy(boxes).float(), "labels": torch.from_numpy(labels)}
        _, (resized,) = transform([torch.zeros(3, height, width)], [target])
        expected.append((resized["boxes"][:, 2:] - resized["boxes"][:, :2]).numpy())
    found = resized_box_sizes(data, settings)
    assert found.shape == (4, 2)
    # Computed in float32, an image may become a pixel smaller.
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1 / 31, atol=0.011)
