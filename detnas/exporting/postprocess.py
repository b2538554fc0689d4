"""What comes before and after the network of a file that `detnas export --format onnx-raw` wrote, in plain NumPy.

You can copy this file into your code; it imports nothing else of detnas. With ONNX Runtime:

    session = onnxruntime.InferenceSession("detector-raw.onnx")
    about = json.loads(session.get_modelmeta().custom_metadata_map["detnas"])
    batch = prepare([pixels], about)                        # (height, width, 3) uint8, RGB
    outputs = session.run(None, batch.inputs)
    [(boxes, scores, labels)] = detections(outputs, batch, about)
    names = [about["classes"][label] for label in labels]

It does what torchvision's RetinaNet and Faster R-CNN do in evaluation mode.
"""

from collections.abc import Mapping, Sequence
from math import ceil, log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Found = tuple[Array, Array, Array]
"""Highest score first: boxes (n, 4) float32, x1, y1, x2, y2 in pixels of the original image; scores (n,) float32 in
0-1; labels (n,) int64, indices into the file's `classes`."""

DIVISOR = 32
"""Both sides of what the network sees are multiples of this."""
MOST_GROWTH = log(1000 / 16)
"""The most by which the logarithm of a box's side can exceed that of its anchor."""
SMALLEST = 0.01
"""A two-stage detector drops boxes with a side of fewer pixels than this."""


class Batch(NamedTuple):
    """Images as the network takes them."""

    inputs: dict[str, Array]
    """By the names of the network's inputs: `images` (N, 3, H, W) float32, padded with zeros to the right and below; of
    a two-stage detector, which takes one image at a time, also `size` (2,) int64: height and width without padding."""
    sizes: list[tuple[int, int]]
    """Height and width of each image without the padding."""
    given: list[tuple[int, int]]
    """Height and width of each image as it was given."""


def prepare(images: Sequence[Array], about: Mapping[str, Any]) -> Batch:
    """Normalize, resize and pad images (height, width, 3) uint8, RGB; `about` is the file's metadata.

    Raises `ValueError` for an image so long and thin that nothing is left of its shorter side when it is resized.
    """
    settings = about["detector"]
    for height, width, _ in (one.shape for one in images):
        if min(height, width) * settings["max_size"] <= max(height, width):
            raise ValueError(
                f"an image of {width}x{height} pixels: nothing is left of its shorter side where the longer is "
                f"reduced to {settings['max_size']}; cut it into pieces"
            )
    resized = [_resize(_normalize(one, settings), settings) for one in images]
    sizes = [(one.shape[1], one.shape[2]) for one in resized]
    height, width = (ceil(max(side) / DIVISOR) * DIVISOR for side in zip(*sizes, strict=True))
    padded = np.zeros((len(resized), 3, height, width), np.float32)
    for image, one in zip(padded, resized, strict=True):
        image[:, : one.shape[1], : one.shape[2]] = one
    inputs = {"images": padded}
    if about["stages"] == 2:
        (size,) = sizes
        inputs["size"] = np.array(size, np.int64)
    return Batch(inputs, sizes, [(one.shape[0], one.shape[1]) for one in images])


def detections(outputs: Sequence[Array], batch: Batch, about: Mapping[str, Any]) -> list[Found]:
    """The detections on each image of `batch`, from the network's outputs for it."""
    find_candidates = _two_stage if about["stages"] == 2 else _one_stage
    candidates = find_candidates(outputs, batch, about)
    images = zip(candidates, batch.sizes, batch.given, strict=True)
    return [_best(*found, size, given, about) for found, size, given in images]


def _one_stage(outputs: Sequence[Array], batch: Batch, about: Mapping[str, Any]) -> list[Found]:
    """Candidates of a one-stage detector (RetinaNet) from logits (N, anchors, classes) and codes (N, anchors, 4)."""
    logits, codes = outputs
    height, width = batch.inputs["images"].shape[2:]
    levels = anchors(height, width, about)
    ends = np.cumsum([len(level) for level in levels])[:-1]
    candidates = []
    for one, its_codes, size in zip(logits, codes, batch.sizes, strict=True):
        of_levels = zip(np.split(one, ends), np.split(its_codes, ends), levels, strict=True)
        parts = [_level_candidates(*level, size, about) for level in of_levels]
        boxes, scores, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        candidates.append((boxes, scores, labels))
    return candidates


def _level_candidates(
    logits: Array, codes: Array, level: Array, size: tuple[int, int], about: Mapping[str, Any]
) -> Found:
    """The best-scoring boxes of one level of the pyramid."""
    settings = about["detector"]
    with np.errstate(over="ignore"):
        scores = (1 / (1 + np.exp(-logits))).ravel()
    (chosen,) = np.nonzero(scores > settings["score_threshold"])
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")[: settings["candidates"]]]
    places, labels = np.divmod(chosen, logits.shape[1])
    boxes = _clipped(decode(codes[places], level[places], about["box_weights"]), size)
    return boxes, scores[chosen], labels


def _two_stage(outputs: Sequence[Array], batch: Batch, about: Mapping[str, Any]) -> list[Found]:
    """Candidates of a detector with two stages, such as Faster R-CNN, from proposals (n, 4), logits (n, 1 + classes)
    and codes (n, 4 + 4 classes)."""
    proposals, logits, codes = outputs
    (size,) = batch.sizes
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = (powers / powers.sum(axis=1, keepdims=True))[:, 1:]  # the first is the background
    codes = codes.reshape(*logits.shape, 4)[:, 1:]
    places, labels = np.nonzero(scores > about["detector"]["score_threshold"])
    boxes = _clipped(decode(codes[places, labels], proposals[places], about["box_weights"]), size)
    large = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST).all(axis=1)
    return [(boxes[large], scores[places, labels][large], labels[large])]


def _best(boxes: Array, scores: Array, labels: Array, size: Sequence[int], given: Sequence[int], about: Any) -> Found:
    """The candidates on an image that are left after non-maximum suppression by class, highest score first."""
    settings = about["detector"]
    kept = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        (of_class,) = np.nonzero(labels == label)
        kept.append(of_class[suppress(boxes[of_class], scores[of_class], settings["nms_threshold"])])
    keep = np.concatenate(kept)
    keep = keep[np.argsort(-scores[keep], kind="stable")[: settings["detections"]]]
    edge = np.array([0, 0, 1, 1], np.float32) * about["unscaled_edge"]
    factors = np.tile(_float32(given[::-1]) / _float32(size[::-1]), 2)
    boxes = (boxes[keep] - edge) * factors + edge
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])  # those narrower than the edge that is not scaled
    return boxes, scores[keep], labels[keep].astype(np.int64)


def suppress(boxes: Array, scores: Array, threshold: float) -> Array:
    """Indices of the `boxes` (n, 4) that non-maximum suppression keeps at an IoU `threshold`, highest score first."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        common = sides.clip(0).prod(axis=1)
        order = order[common <= threshold * (areas[best] + areas[order] - common)]
    return np.array(kept, np.int64)


def decode(codes: Array, boxes: Array, weights: Sequence[float]) -> Array:
    """Boxes (n, 4) from anchors or proposals and the network's codes relative to them, both (n, 4)."""
    codes = codes / _float32(weights)
    sides = boxes[:, 2:] - boxes[:, :2]
    centers = codes[:, :2] * sides + boxes[:, :2] + sides / 2
    half = np.exp(np.minimum(codes[:, 2:], np.float32(MOST_GROWTH))) * sides / 2
    return np.concatenate((centers - half, centers + half), axis=1)


def anchors(height: int, width: int, about: Mapping[str, Any]) -> list[Array]:
    """The anchors (n, 4) float32 of each level of the pyramid, for an input of `height` x `width` pixels."""
    levels, rows, columns = [], 0, 0
    for number, cell in enumerate(about["cell_anchors"]):
        if number < len(about["detector"]["strides"]):
            stride = about["detector"]["strides"][number]
            rows, columns = height // stride, width // stride
        else:  # made from the level before by a convolution of stride 2
            rows, columns = ceil(rows / 2), ceil(columns / 2)
        fixed = about["anchor_strides"]
        down, right = (fixed[number], fixed[number]) if fixed else (height // rows, width // columns)
        y, x = np.meshgrid(np.arange(rows) * down, np.arange(columns) * right, indexing="ij")
        corners = np.stack((x, y, x, y), axis=-1).reshape(-1, 1, 4)
        levels.append((corners + _float32(cell)).reshape(-1, 4).astype(np.float32))
    return levels


def _normalize(pixels: Array, settings: Mapping[str, Any]) -> Array:
    """(height, width, 3) uint8, RGB -> (3, height, width) float32, channels in the network's order."""
    image = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (_float32(settings[name])[:, None, None] for name in ("image_mean", "image_std"))
    image = (image - mean) / std
    return image[::-1] if settings["channel_order"] == "bgr" else image


def _resize(image: Array, settings: Mapping[str, Any]) -> Array:
    """Resize to the detector's input size: bilinear, without a low-pass filter."""
    _, height, width = image.shape
    scale = min(settings["min_size"] / min(height, width), settings["max_size"] / max(height, width))
    for axis, side in ((1, height), (2, width)):
        new = int(side * scale)
        centers = np.arange(new, dtype=np.float32) + np.float32(0.5)
        places = (centers * np.float32(side / new) - np.float32(0.5)).clip(0)
        before = places.astype(np.int64)
        after = np.minimum(before + 1, side - 1)
        share = (places - before).astype(np.float32).reshape((-1, 1) if axis == 1 else (-1,))
        image = image.take(before, axis) * (1 - share) + image.take(after, axis) * share
    return image


def _clipped(boxes: Array, size: tuple[int, int]) -> Array:
    return boxes.clip(0, np.tile(_float32(size[::-1]), 2))


def _float32(values: Any) -> Array:
    return np.array(values, np.float32)
