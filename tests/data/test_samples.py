"""Samples for detection: a function of their key, and boxes that stay on their objects whatever is done."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from make_coco import COLORS, read_coco, tree_of, write_coco
from PIL import Image

from detnas.config import TrainingSettings
from detnas.data.crops import CropSamples
from detnas.data.detection import DetectionSet
from detnas.data.images import Images
from detnas.data.samples import GRAY, ClassSamples, DetectionSamples
from detnas.utils.errors import UserError

SEEDS = st.integers(0, 2**63 - 1)


def training(**changes: object) -> TrainingSettings:
    return TrainingSettings.model_validate({"steps": 10, "batch_size": 2, "lr": 0.1, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    """Images that are not square, one object of each color at most, none that touch; one image without any."""
    folder = tmp_path_factory.mktemp("samples")
    tree = tree_of(
        [
            (90, 60, [(1, [5, 8, 20, 12]), (2, [50, 30, 36, 24])]),
            (50, 80, [(3, [0, 0, 18, 40]), (1, [30, 50, 20, 30])]),
            (64, 64, []),
            (41, 37, [(2, [11, 7, 13, 17])]),
        ]
    )
    write_coco(folder / "train.json", folder / "train", tree)
    return read_coco(folder / "train.json", folder / "train")


@pytest.mark.parametrize("augmented", [True, False])
@pytest.mark.parametrize("size", [(60000, 1), (1, 60000), (1, 1), (9000, 3)])
def test_images_of_any_shape_are_classified(size: tuple[int, int], augmented: bool, tmp_path: Path) -> None:
    Image.new("RGB", size, "teal").save(tmp_path / "a.png")
    images = Images([tmp_path / "a.png"], cache_mb=0)
    image, _ = ClassSamples(images, [0], 224, 0.2, training(color_jitter=0) if augmented else None)[0, 1]
    assert image.shape == (3, 224, 224) and (image == torch.tensor([0, 128, 128]).reshape(3, 1, 1)).all()


def seen(image: torch.Tensor, label: int) -> tuple[float, float, float, float] | None:
    """The box of the pixels that have mostly the color of `label`, if there are any."""
    color = torch.tensor(COLORS[label + 1]).reshape(3, 1, 1) > 0
    ys, xs = torch.where(((image > 127) == color).all(dim=0))
    if len(xs) == 0:
        return None
    return float(xs.min()), float(ys.min()), float(xs.max()) + 1, float(ys.max()) + 1


def assert_boxes_on_objects(image: torch.Tensor, target: dict[str, torch.Tensor], tolerance: float) -> None:
    assert image.dtype == torch.uint8 and type(image) is torch.Tensor
    boxes, labels = target["boxes"], target["labels"]
    assert boxes.dtype == torch.float32 and labels.dtype == torch.int64 and boxes.shape == (len(labels), 4)
    assert type(boxes) is torch.Tensor and type(labels) is torch.Tensor
    height, width = image.shape[-2:]
    for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
        assert 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
        pixels = seen(image, label)
        assert pixels is not None
        assert np.abs(np.subtract(box, pixels)).max() <= tolerance, (box, pixels)
    # No object without its box: slivers may be left out.
    for label in {0, 1, 2} - set(labels.tolist()):
        pixels = seen(image, label)
        assert pixels is None or min(pixels[2] - pixels[0], pixels[3] - pixels[1]) <= 4


ALL_CHANGES = {"flip": 0.5, "vertical_flip": 0.5, "color_jitter": 0.4, "scale_jitter": [0.5, 2.0]}


def test_without_changes_a_sample_is_the_image(data: DetectionSet) -> None:
    samples = DetectionSamples(data, training(flip=0), cache_mb=100)
    assert len(samples) == 4
    for index in range(4):
        image, target = samples[index, 7]
        assert image.shape == (3, data.sizes[index][1], data.sizes[index][0])
        assert target["boxes"].tolist() == data.training_boxes(index)[0].tolist()
        assert_boxes_on_objects(image, target, tolerance=0)


@pytest.mark.parametrize("flips", [(1, 0), (0, 1), (1, 1)])
def test_flips_move_boxes_with_their_objects(flips: tuple[int, int], data: DetectionSet) -> None:
    plain = DetectionSamples(data, training(flip=0), cache_mb=100)
    flipped = DetectionSamples(data, training(flip=flips[0], vertical_flip=flips[1]), cache_mb=100)
    axes = [axis for axis, flip in ((2, flips[0]), (1, flips[1])) if flip]
    for index in range(4):
        image, target = flipped[index, 3]
        assert torch.equal(image, plain[index, 3][0].flip(axes))
        assert len(target["boxes"]) == len(plain[index, 3][1]["boxes"])
        assert_boxes_on_objects(image, target, tolerance=0)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, index=st.integers(0, 3), scale=st.sampled_from([[0.3, 0.5], [0.5, 2.0], [1.5, 3.0], [1.0, 1.0]]))
def test_scale_jitter_keeps_boxes_on_their_objects(
    seed: int, index: int, scale: list[float], data: DetectionSet
) -> None:
    samples = DetectionSamples(data, training(scale_jitter=scale, vertical_flip=0.5), cache_mb=100)
    image, target = samples[index, seed]
    assert image.shape == (3, data.sizes[index][1], data.sizes[index][0])
    assert_boxes_on_objects(image, target, tolerance=2)
    if scale[1] <= 1:
        assert len(target["boxes"]) == len(data.training_boxes(index)[0])
    if scale[1] < 1:
        assert (image == GRAY).any()
    elif scale == [1.0, 1.0]:
        assert not (image == GRAY).any()


def test_scale_jitter_draws_the_scale_and_the_place(data: DetectionSet) -> None:
    samples = DetectionSamples(data, training(scale_jitter=[0.5, 0.9], flip=0), cache_mb=100)
    for index in (0, 1, 3):  # wide, high, almost square
        _, _, width, height = data.boxes[data.rows_of(index)][0]
        boxes = [samples[index, seed][1]["boxes"][0].tolist() for seed in range(60)]
        for length, low, high in ((width, 0, 2), (height, 1, 3)):
            factors = [(box[high] - box[low]) / length for box in boxes]
            assert 0.48 < min(factors) < 0.55 and 0.85 < max(factors) < 0.92
            assert len({round(box[low]) for box in boxes}) > 5


def test_flips_and_jitter_are_drawn_with_their_probability(data: DetectionSet) -> None:
    samples = DetectionSamples(data, training(flip=0.25), cache_mb=100)
    plain = DetectionSamples(data, training(flip=0), cache_mb=100)[0, 0][0]
    flipped = sum(not torch.equal(samples[0, seed][0], plain) for seed in range(400))
    assert 60 < flipped < 140


@pytest.mark.parametrize("cache_mb", [0, 100])
def test_an_image_of_another_size_than_stated_is_refused(cache_mb: int, tmp_path: Path) -> None:
    """With the cache before anything is trained, without it when its turn comes."""
    write_coco(tmp_path / "train.json", tmp_path / "train", tree_of([(40, 30, [(1, [2, 2, 20, 20])])] * 60))
    data = read_coco(tmp_path / "train.json", tmp_path / "train")
    Image.new("RGB", (41, 30)).save(data.files[58])  # since it was read
    words = r"590\.png: the image has 41x30 pixels, but the annotations say 40x30; fix"
    for samples in (
        lambda: DetectionSamples(data, training(), cache_mb),
        lambda: CropSamples(data, 32, 0.1, training(), cache_mb),
    ):
        if cache_mb:
            with pytest.raises(UserError, match=words):
                samples()
        else:
            begun = samples()
            with pytest.raises(UserError, match=words):
                begun[58, 0]


def same(first: tuple, second: tuple) -> bool:
    return torch.equal(first[0], second[0]) and all(torch.equal(first[1][k], second[1][k]) for k in first[1])


@settings(max_examples=20, deadline=None)
@given(keys=st.lists(st.tuples(st.integers(0, 3), SEEDS), min_size=2, max_size=5), state=st.integers(0, 2**32 - 1))
def test_a_sample_is_a_function_of_its_key(keys: list[tuple[int, int]], state: int, data: DetectionSet) -> None:
    first = DetectionSamples(data, training(**ALL_CHANGES), cache_mb=100)
    expected = [first[key] for key in keys]
    torch.manual_seed(state)
    np.random.seed(state)
    random.seed(state)
    # Another order, another state of the global generators, and images read from the disk each time.
    second = DetectionSamples(data, training(**ALL_CHANGES), cache_mb=0)
    again = [second[key] for key in reversed(keys)]
    assert all(same(ours, theirs) for ours, theirs in zip(expected, reversed(again), strict=True))


def test_samples_of_different_seeds_differ(data: DetectionSet) -> None:
    samples = DetectionSamples(data, training(**ALL_CHANGES), cache_mb=100)
    assert len({samples[0, seed][0].numpy().tobytes() for seed in range(10)}) == 10


def test_drawing_a_sample_leaves_the_global_generators_alone(data: DetectionSet) -> None:
    samples = DetectionSamples(data, training(**ALL_CHANGES), cache_mb=100)
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    for seed in range(5):
        samples[1, seed]
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
    assert python_state == random.getstate()


@pytest.mark.parametrize("changes", [{"flip": 0}, ALL_CHANGES], ids=["nothing", "all"])
def test_cached_images_are_never_changed(changes: dict[str, object], data: DetectionSet) -> None:
    samples = DetectionSamples(data, training(**changes), cache_mb=100)
    assert samples.images.cache is not None
    before = [image.clone() for image in samples.images.cache]
    for seed in range(10):
        samples[seed % 4, seed]
    assert all(torch.equal(image, copy) for image, copy in zip(samples.images.cache, before, strict=True))


def test_class_samples_show_their_image(data: DetectionSet) -> None:
    images = Images(data.files, 100)
    samples = ClassSamples(images, [4, 5, 6, 7], 32, 0.5, training(color_jitter=0.2))
    assert len(samples) == 4
    state = torch.get_rng_state()
    for index in range(4):
        (image, label), (again, _) = samples[index, 11], samples[index, 11]
        assert image.shape == (3, 32, 32) and image.dtype == torch.uint8 and label == 4 + index
        assert torch.equal(image, again) and not torch.equal(image, samples[(index + 1) % 4, 11][0])
    assert torch.equal(state, torch.get_rng_state())
    assert len({samples[0, seed][0].numpy().tobytes() for seed in range(10)}) == 10


@pytest.mark.parametrize("cache_mb", [0, 100])
def test_images_are_kept_in_memory_only_if_they_fit(cache_mb: int, data: DetectionSet, tmp_path: Path) -> None:
    images = Images(data.files, cache_mb)
    assert (images.cache is not None) == (cache_mb > 0)
    assert len(images) == 4
    assert [tuple(images[i].shape[1:]) for i in range(4)] == [(h, w) for w, h in data.sizes.tolist()]
