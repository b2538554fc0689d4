"""Classification samples cut from boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from make_coco import COLORS, read_coco, tree_of, write_coco

from detnas.config import TrainingSettings
from detnas.data import crops
from detnas.data.crops import CropSamples
from detnas.data.detection import DetectionSet
from detnas.data.images import Images
from detnas.data.samples import GRAY
from detnas.utils.errors import UserError

TRAINING = TrainingSettings(steps=10, batch_size=2, lr=0.1)


def scattered(count: int) -> list:
    """Images of 96x80 pixels with one or two objects of 8 to 30 pixels."""
    rng = np.random.default_rng(0)
    images = []
    for place in range(count):
        boxes = [(place % 3 + 1, [float(rng.integers(0, 18)), float(rng.integers(0, 50)), 8.0 + place % 23, 20.0])]
        if place % 2:
            boxes.append((place % 2 + 2, [float(rng.integers(52, 70)), float(rng.integers(0, 60)), 12.0, 14.0]))
        images.append((96, 80, boxes))
    return images


def load(folder: Path, images: list, crowds: tuple[int, ...] = ()) -> DetectionSet:
    tree = tree_of(images)
    for place in crowds:
        tree["annotations"][place]["iscrowd"] = 1
    write_coco(folder / "train.json", folder / "train", tree)
    return read_coco(folder / "train.json", folder / "train")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    return load(tmp_path_factory.mktemp("crops"), scattered(24))


def test_a_crop_around_a_long_thin_box_takes_little_memory(tmp_path: Path) -> None:
    samples = CropSamples(load(tmp_path, [(60000, 6, [(1, [10, 1, 59000, 4])])]), 32, 0, None, 0)
    for seed in range(3):
        image, label = samples[0, seed]
        assert image.shape == (3, 32, 32) and label == 0


def test_a_square_that_is_reduced_before_it_is_padded_shows_the_same(
    data: DetectionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = CropSamples(data, 8, 0.2, TRAINING, 10)
    expected = [samples[index, 3][0].float() for index in range(len(samples))]
    monkeypatch.setattr(crops, "MAX_SIDE", 24)
    found = [samples[index, 3][0].float() for index in range(len(samples))]
    differences = torch.stack([(one - other).abs().mean() for one, other in zip(found, expected, strict=True)])
    assert 0 < differences.max() < 40 and differences.mean() < 8  # of 255


def share_of(image: torch.Tensor, label: int) -> float:
    """Of the crop's pixels, those in the color of `label`."""
    color = torch.tensor(COLORS[label + 1]).reshape(3, 1, 1) > 0
    return float(((image > 127) == color).all(dim=0).float().mean())


def test_object_crops_show_their_object(data: DetectionSet) -> None:
    samples = CropSamples(data, 32, 0.2, TRAINING, cache_mb=100)
    assert len(samples.objects) == len(data.boxes) == 36
    for index in range(len(samples.objects)):
        for seed in range(3):
            image, label = samples[index, seed]
            assert image.shape == (3, 32, 32) and image.dtype == torch.uint8
            assert label == data.labels[index]
            # The square is at most 1.6 times the longer side, and keeps at least 0.9 of the object each way.
            width, height = data.boxes[index, 2:]
            ratio = min(width, height) / max(width, height)
            assert share_of(image, label) > 0.75 * ratio / 1.6**2
            # Whatever else it shows, the middle is the object.
            assert share_of(image[:, 13:19, 13:19], label) > 0.5


@pytest.mark.parametrize("edge", ["top", "left", "bottom", "right"])
def test_crops_reach_beyond_the_image_into_gray(edge: str, tmp_path: Path) -> None:
    box = {"top": [0, 0, 40, 10], "left": [0, 0, 10, 40], "bottom": [0, 30, 40, 10], "right": [30, 0, 10, 40]}[edge]
    data = load(tmp_path, [(40, 40, [(1, box)])])
    samples = CropSamples(data, 32, 0.0, TRAINING, cache_mb=100)
    for seed in range(10):
        image, _ = samples[0, seed]
        # A flip may have swapped left and right.
        outer = {
            "top": [image[:, 2, 10:22]],
            "bottom": [image[:, -3, 10:22]],
        }.get(edge, [image[:, 10:22, 2], image[:, 10:22, -3]])
        # The crop is square, the object a bar along the edge: beyond it there is no image.
        assert min((strip.float() - GRAY).abs().max() for strip in outer) < 30
        assert 0.1 < share_of(image, 0) < 0.3


def test_labels_count_the_background(data: DetectionSet) -> None:
    samples = CropSamples(data, 32, 0.25, TRAINING, cache_mb=100)
    assert len(samples) == 36 + 12  # a quarter of all is background
    assert [samples[index, 0][1] for index in range(36, 48)] == [3] * 12
    without = CropSamples(data, 32, 0.0, TRAINING, cache_mb=100)
    assert len(without) == 36


def test_background_crops_avoid_all_boxes(data: DetectionSet) -> None:
    samples = CropSamples(data, 32, 0.5, TRAINING, cache_mb=100)
    shown = []
    for index in range(len(samples.objects), len(samples)):
        for seed in range(5):
            image, _ = samples[index, seed]
            shown.append(sum(share_of(image, label) for label in range(3)))
    # At most a tenth of the crop, or of an object within it, and nearly always nothing.
    assert max(shown) < 0.2
    assert np.mean([share > 0 for share in shown]) < 0.35


def test_a_large_background_crop_does_not_hide_small_objects(tmp_path: Path) -> None:
    # One large object gives the crops their size; a small one in every other image hides easily in them.
    rng = np.random.default_rng(1)
    small = [(96, 96, [(2, [float(rng.integers(0, 80)), float(rng.integers(0, 80)), 12.0, 12.0])]) for _ in range(20)]
    large = [(96, 96, [(1, [20.0, 20.0, 50.0, 50.0])]) for _ in range(20)]
    samples = CropSamples(load(tmp_path, small + large), 32, 0.5, TRAINING, cache_mb=100)
    whole = (12 * 32 / 50) ** 2 / 32**2
    hidden = []
    for seed in range(200):
        image, _ = samples[len(samples.objects), seed]
        hidden.append(share_of(image, 1) > 0.5 * whole)
    assert np.mean(hidden) < 0.03


def test_crowds_are_neither_object_nor_background(tmp_path: Path) -> None:
    # The left half of every image is a crowd; the object in the right half gives the size.
    images = [(96, 48, [(1, [0.0, 0.0, 44.0, 48.0]), (2, [60.0, 8.0, 12.0, 12.0])]) for _ in range(8)]
    samples = CropSamples(load(tmp_path, images, crowds=tuple(range(0, 16, 2))), 32, 0.5, TRAINING, cache_mb=100)
    assert {samples[index, 0][1] for index in range(len(samples.objects))} == {1}
    crowded = [share_of(samples[8, seed][0], 0) > 0.3 for seed in range(100)]
    assert np.mean(crowded) < 0.05


def test_objects_of_a_few_pixels_are_left_out(tmp_path: Path) -> None:
    data = load(tmp_path, [(40, 40, [(1, [2, 2, 3, 20]), (2, [20, 20, 4, 4])])])
    samples = CropSamples(data, 32, 0.0, TRAINING, cache_mb=100)
    assert len(samples) == 1 and samples[0, 0][1] == 1


def test_a_set_without_an_object_worth_cutting_is_refused(tmp_path: Path) -> None:
    data = load(tmp_path, [(40, 40, [(1, [2, 2, 3, 20])])])
    with pytest.raises(UserError, match=r"pretraining\.source") as refusal:
        CropSamples(data, 32, 0.2, TRAINING, cache_mb=100)
    assert "\n" not in str(refusal.value)


def test_images_full_of_objects_still_give_background(tmp_path: Path) -> None:
    samples = CropSamples(load(tmp_path, [(40, 40, [(1, [0, 0, 40, 40])])]), 16, 0.5, TRAINING, cache_mb=100)
    image, label = samples[1, 0]
    assert image.shape == (3, 16, 16) and label == 3


def test_a_crop_is_a_function_of_its_key(data: DetectionSet) -> None:
    settings = TRAINING.model_copy(update={"color_jitter": 0.3, "vertical_flip": 0.5})
    first = CropSamples(data, 32, 0.3, settings, cache_mb=100)
    keys = [(index, 100 + index) for index in range(0, len(first), 5)]
    expected = [first[key] for key in keys]
    state = torch.get_rng_state()
    second = CropSamples(data, 32, 0.3, settings, cache_mb=0)
    torch.manual_seed(99)
    for (image, label), key in zip(reversed(expected), reversed(keys), strict=True):
        again, its_label = second[key]
        assert torch.equal(image, again) and label == its_label
    torch.manual_seed(99)
    before = torch.get_rng_state()
    for key in keys:
        first[key]
    assert torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(state)
    assert len({first[0, seed][0].numpy().tobytes() for seed in range(10)}) == 10


def test_a_crop_names_the_image_that_it_is_cut_from(data: DetectionSet, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = CropSamples(data, 32, 0.3, TRAINING, cache_mb=0)
    read: list[int] = []
    image = Images.__getitem__
    monkeypatch.setattr(Images, "__getitem__", lambda self, index: (read.append(index), image(self, index))[1])
    state = torch.get_rng_state()
    for index in range(len(samples)):
        samples[index, 7]
        name = samples.name((index, 7))
        assert name.startswith(f"{data.files[read[-1]]} at (") and len(read) == index + 1
    assert torch.equal(state, torch.get_rng_state())
