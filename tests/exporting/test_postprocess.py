"""The NumPy side of raw exports against torchvision."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from detecting import noise, settings
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import nms

from detnas.config import OFFICIAL_INPUT
from detnas.exporting import postprocess
from detnas.exporting.postprocess import anchors, decode, detections, prepare, suppress
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.detectors.pyramid import build_anchors

SCALES = (1.0, 1.41)


def about(kind: str = "retinanet", **changes: Any) -> dict[str, Any]:
    return {"stages": 2 if kind == "fpn" else 1, "detector": settings(kind, **changes).model_dump(mode="json")}


def test_it_needs_numpy_alone(tmp_path: Path) -> None:
    (tmp_path / "copied.py").write_text(Path(postprocess.__file__).read_text())
    script = """
import sys
from importlib.abc import MetaPathFinder

class Refusing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("detnas", "torch", "torchvision", "onnx", "onnxruntime", "PIL"):
            raise ImportError(name)

sys.meta_path.insert(0, Refusing())
import copied, numpy
print(copied.suppress(numpy.array([[0, 0, 2, 2], [0, 0, 2, 2]]), numpy.array([0.1, 0.2]), 0.5))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env={})
    assert (done.stdout, done.stderr) == ("[1]\n", "")


@pytest.mark.parametrize("changes", [{}, OFFICIAL_INPUT.model_dump(), {"min_size": 24, "max_size": 40}])
def test_images_are_prepared_as_torchvision_does(changes: dict[str, Any]) -> None:
    pixels = [image.permute(1, 2, 0).numpy() for image in noise()]
    batch = prepare(pixels, about(**changes))
    expected, _ = ImageTransform(settings("retinanet", **changes)).eval()([one.float() / 255 for one in noise()])
    assert batch.sizes == expected.image_sizes
    assert batch.given == [tuple(one.shape[:2]) for one in pixels]
    images = batch.inputs["images"]
    assert images.dtype == np.float32 and images.shape == tuple(expected.tensors.shape)
    assert np.abs(images - expected.tensors.numpy()).max() <= 1e-5 * expected.tensors.abs().max()


@pytest.mark.parametrize("size", [(1, 96), (2000, 3), (0, 5), (5, 0)])
def test_an_image_of_which_nothing_is_left_is_refused_in_a_line(size: tuple[int, int]) -> None:
    height, width = size
    with pytest.raises(
        ValueError, match=f"an image of {width}x{height} pixels: nothing is left .* to 96; cut it"
    ) as error:
        prepare([np.zeros((60, 80, 3), np.uint8), np.zeros((*size, 3), np.uint8)], about())
    assert "\n" not in str(error.value)


@given(st.integers(1, 40), st.integers(1, 4000), st.booleans())
def test_of_every_other_image_something_is_left(shorter: int, longer: int, upright: bool) -> None:
    size = (longer, shorter) if upright else (shorter, longer)
    if min(size) * 96 > max(size):
        batch = prepare([np.zeros((*size, 3), np.uint8)], about())
        assert min(batch.sizes[0]) >= 1 and max(batch.sizes[0]) <= 96


def test_a_two_stage_detector_takes_one_image_and_its_size() -> None:
    pixels = [image.permute(1, 2, 0).numpy() for image in noise()[:2]]
    batch = prepare(pixels[1:], about("fpn"))
    assert batch.inputs["size"].tolist() == [96, 29] and batch.inputs["size"].dtype == np.int64
    with pytest.raises(ValueError):
        prepare(pixels, about("fpn"))


@pytest.mark.parametrize("geometry", ["torchvision", "maskrcnn-benchmark"])
@pytest.mark.parametrize("extra_levels", [0, 2])
@given(rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_anchors_lie_where_the_detectors_do(geometry: str, extra_levels: int, rows: int, columns: int) -> None:
    sizes = (8, 16, 24, 32, 48)[: 3 + extra_levels]
    chosen = settings("retinanet", geometry=geometry, extra_levels=extra_levels, anchor_sizes=sizes)
    generator = build_anchors(chosen, SCALES)
    height, width = 32 * rows, 32 * columns
    shapes = [(height // stride, width // stride) for stride in (8, 16, 32)]
    while len(shapes) < len(sizes):
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    maps = [torch.zeros(1, 1, *shape) for shape in shapes]
    (expected,) = generator(ImageList(torch.zeros(1, 3, height, width), [(height, width)]), maps)
    described = {
        "detector": chosen.model_dump(mode="json"),
        "cell_anchors": [cell.tolist() for cell in generator.cell_anchors],
        "anchor_strides": list(generator.strides) if geometry == "maskrcnn-benchmark" else None,
    }
    found = anchors(height, width, described)
    assert [len(level) for level in found] == [2 * 3 * a * b for a, b in shapes]
    assert np.array_equal(np.concatenate(found), expected.numpy())


@given(seed=st.integers(0, 1000), weights=st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]))
def test_boxes_are_decoded_as_torchvision_does(seed: int, weights: tuple[float, ...]) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 30)
    codes = (rng.standard_normal((30, 4)) * 3 * np.array(weights)).astype(np.float32)
    expected = BoxCoder(weights).decode_single(torch.from_numpy(codes), torch.from_numpy(boxes)).numpy()
    assert np.allclose(decode(codes, boxes, weights), expected, rtol=1e-4, atol=1e-3)


@given(seed=st.integers(0, 1000), count=st.integers(0, 40), threshold=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_overlapping_boxes_are_suppressed_as_torchvision_does(seed: int, count: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, count), rng.permutation(count).astype(np.float32)
    expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert suppress(boxes, scores, threshold).tolist() == expected.tolist()


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.random((count, 2)) * 30
    return np.concatenate((corners, corners + 1 + rng.random((count, 2)) * 20), axis=1).astype(np.float32)


def test_of_each_class_and_level_the_best_are_kept() -> None:
    """Two levels of one anchor a cell; boxes are the anchors themselves."""
    chosen = settings("retinanet", candidates=2, detections=3, nms_threshold=0.5, score_threshold=0.1)
    described = {
        "stages": 1,
        "detector": chosen.model_dump(mode="json") | {"strides": [16, 32]},
        "cell_anchors": [[[0.0, 0.0, 16.0, 16.0]], [[0.0, 0.0, 15.0, 16.0]]],
        "anchor_strides": None,
        "box_weights": [1.0, 1.0, 1.0, 1.0],
        "unscaled_edge": 0.0,
    }
    batch = SimpleNamespace(inputs={"images": np.zeros((1, 3, 32, 32), np.float32)}, sizes=[(32, 24)], given=[(64, 48)])
    scores = np.full((1, 5, 2), 0.05, np.float32)
    scores[0, 0] = 0.7, 0.6  # the same box, of two classes
    scores[0, 1] = 0.5, 0.01  # the third of its level
    scores[0, 4] = 0.9, 0.2  # the other level's
    outputs = [np.log(scores / (1 - scores)), np.zeros((1, 5, 4), np.float32)]
    [(boxes, found, labels)] = detections(outputs, batch, described)  # type: ignore[arg-type]
    # The other level's box suppresses the first's of class 0, not that of class 1, which suppresses its 0.2.
    assert labels.tolist() == [0, 1] and np.allclose(found, [0.9, 0.6])
    assert np.allclose(boxes, [[0, 0, 30, 32], [0, 0, 32, 32]])


def test_far_from_the_image_nothing_is_left_of_a_box() -> None:
    described = about("fpn") | {"box_weights": [1.0, 1.0, 1.0, 1.0], "unscaled_edge": 0.0}
    batch = SimpleNamespace(inputs={}, sizes=[(20, 20)], given=[(20, 20)])
    proposals = np.array([[0, 0, 10, 10], [30, 30, 40, 40], [15, 15, 25, 25]], np.float32)
    logits = np.array([[0, 5], [0, 5], [5, 0]], np.float32)
    [(boxes, scores, labels)] = detections([proposals, logits, np.zeros((3, 8), np.float32)], batch, described)  # type: ignore[arg-type]
    assert boxes.tolist() == [[0, 0, 10, 10]] and labels.tolist() == [0]
    assert np.allclose(scores, 1 / (1 + np.exp(-5)))


@pytest.mark.parametrize("kind", ["retinanet", "fpn"])
def test_nothing_found_is_no_error(kind: str) -> None:
    described = about(kind) | {"box_weights": [1.0, 1.0, 1.0, 1.0], "unscaled_edge": 0.0}
    described |= {"cell_anchors": [[[0.0, 0.0, 8.0, 8.0]]] * 3, "anchor_strides": None}
    size = [(32, 32)]
    batch = SimpleNamespace(inputs={"images": np.zeros((1, 3, 32, 32), np.float32)}, sizes=size, given=size)
    outputs = {
        "retinanet": [np.full((1, 21, 3), -9, np.float32), np.zeros((1, 21, 4), np.float32)],
        "fpn": [np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32), np.zeros((0, 16), np.float32)],
    }
    [(boxes, scores, labels)] = detections(outputs[kind], batch, described)  # type: ignore[arg-type]
    assert boxes.shape == (0, 4) and scores.shape == labels.shape == (0,)
