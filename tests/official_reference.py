"""The official networks written out: tensors under the official names, and what they compute, step by step.

Nothing of detnas is used. Boxes are maskrcnn-benchmark's: x1, y1, x2, y2 of the outermost pixels, edges included.
`Tensors` are float64, so that the order of sums does not matter.
"""

from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, interpolate, linear, max_pool2d
from torchvision.ops import roi_align

STEM, CHANNELS, REPEATS = 8, (16, 32, 48, 64), (2, 2, 2, 2)
OPS = ("shufflenet_3x3", "shufflenet_5x5", "shufflenet_7x7", "xception_3x3")
STRIDES = {"fpn": (4, 8, 16, 32, 64), "retinanet": (8, 16, 32, 64, 128)}
SIZES = (32, 64, 128, 256, 512)
PYRAMID, BOX_FEATURES = 16, 24


class Tensors(dict):
    """A state dict that is drawn as it is asked for: the first pass over an image makes it.

    BN's statistics are then those of that pass, but for a little, so that later passes see values of usual sizes.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, name: str, *shape: int, scale: float = 1.0) -> Tensor:
        if name not in self:
            self[name] = torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale
        return self[name]

    def round(self) -> None:
        """Round to float32, which our networks hold."""
        for name, tensor in self.items():
            if tensor.is_floating_point():
                self[name] = tensor.float().double()

    def convolve(
        self, x: Tensor, name: str, out: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = True,
        gain: float = 1.0,
    ) -> Tensor:  # fmt: skip
        fan_in = x.shape[1] // groups * kernel**2
        weight = self.draw(f"{name}.weight", out, x.shape[1] // groups, kernel, kernel, scale=gain * fan_in**-0.5)
        shift = self.draw(f"{name}.bias", out, scale=0.3) if bias else None
        return conv2d(x, weight, shift, stride, kernel // 2, groups=groups)

    def normalize(self, x: Tensor, name: str) -> Tensor:
        channels = x.shape[1]
        if f"{name}.weight" not in self:
            self[f"{name}.weight"] = 1 + self.draw(f"{name}.bias", channels, scale=0.2) / 2
            self[f"{name}.running_mean"] = x.mean((0, 2, 3)) + 0.1
            self[f"{name}.running_var"] = x.var((0, 2, 3)) * 1.1 + 0.01
            self[f"{name}.num_batches_tracked"] = torch.tensor(7)
        mean, var = self[f"{name}.running_mean"], self[f"{name}.running_var"]
        return batch_norm(x, mean, var, self[f"{name}.weight"], self[f"{name}.bias"], eps=1e-5)

    def linear(self, x: Tensor, name: str, out: int, gain: float = 1.0) -> Tensor:
        weight = self.draw(f"{name}.weight", out, x.shape[1], scale=gain * x.shape[1] ** -0.5)
        return linear(x, weight, self.draw(f"{name}.bias", out, scale=0.1))


# The backbone


def pointwise(w: Tensors, x: Tensor, path: str, name: str, out: int) -> Tensor:
    x = w.convolve(x, f"{path}.interstellar{name}", out, 1, bias=False)
    return w.normalize(x, f"{path}.bn{name}")


def separable(w: Tensors, x: Tensor, path: str, name: str, out: int, kernel: int, stride: int) -> Tensor:
    depthwise = f"{path}.interstellar{name}_s"
    x = w.convolve(x, depthwise, x.shape[1], kernel, stride, groups=x.shape[1], bias=False)
    return pointwise(w, w.normalize(x, f"{depthwise}_bn"), path, name, out)


def block(w: Tensors, x: Tensor, path: str, place: str, op: int, channels: int, stride: int, shuffle: str) -> Tensor:
    kernel, branch = (3, 5, 7, 3)[op], f"{place}_{OPS[op]}_branch2"
    if stride == 2:
        side = separable(w, x, f"{path}.proj_conv", f"{place}_proj", x.shape[1], kernel, 2).relu()
    else:
        half = x.shape[1] // 2
        order = list(range(0, 2 * half, 2)) + list(range(1, 2 * half, 2))
        if shuffle == "interleave":
            order = [channel for pair in zip(range(half), range(half, 2 * half), strict=True) for channel in pair]
        side, x = x[:, order[:half]], x[:, order[half:]]
    out, middle = channels - side.shape[1], channels // 2
    if op == 3:
        x = separable(w, x, f"{path}.conv.0", f"{branch}a", middle, 3, stride).relu()
        x = separable(w, x, f"{path}.conv.1", f"{branch}b", middle, 3, 1).relu()
        x = separable(w, x, f"{path}.conv.2", f"{branch}c", out, 3, 1)
    else:
        x = pointwise(w, x, f"{path}.conv.0", f"{branch}a", middle).relu()
        x = separable(w, x, f"{path}.conv.1", f"{branch}b", out, kernel, stride)
    return torch.cat((side, x.relu()), dim=1)


def backbone(w: Tensors, x: Tensor, ops: list[int], shuffle: str, prefix: str, supernet: bool) -> list[Tensor]:
    """Pixels (N, 3, H, W), BGR in 0-255 -> the maps of the stages."""
    x = w.normalize(w.convolve(x, f"{prefix}first_conv.conv", STEM, 3, 2), f"{prefix}first_conv.bn").relu()
    maps, index = [], 0
    for stage, (channels, repeats) in enumerate(zip(CHANNELS, REPEATS, strict=True), start=1):
        for place, stride in zip("abcdefgh"[:repeats], (2, *[1] * (repeats - 1)), strict=True):
            results = {}
            for op in range(4) if supernet else ops[index : index + 1]:
                path = f"{prefix}features.{index}" + (f".{op}" if supernet else "")
                results[op] = block(w, x, path, f"{stage}{place}", op, channels, stride, shuffle)
            x, index = results[ops[index]], index + 1
        maps.append(x)
    return maps


# The detectors


def detect(w: Tensors, kind: str, image: Tensor, factor: int, num_classes: int, ops: list[int], supernet: bool):
    """Boxes, scores and labels (the official ones, from 1) on an image (3, H, W), RGB in 0-1, made `factor` larger."""
    height, width = (side * factor for side in image.shape[1:])
    assert height % 32 == width % 32 == 0  # or it would be padded
    x = interpolate(image[None, [2, 1, 0]] * 255, (height, width), mode="bilinear", align_corners=False)
    body, neck = ("backbone.", "fpn.") if supernet else ("backbone.body.", "backbone.fpn.")
    maps = backbone(w, x, ops, "interleave" if supernet else "even_odd", body, supernet)
    features = pyramid(w, kind, maps, neck)
    heads = faster_rcnn if kind == "fpn" else retinanet
    boxes, scores, labels = heads(w, features, (height, width), num_classes)
    order = np.argsort(-scores, kind="stable")[:100]
    return boxes[order] / factor, scores[order], labels[order]


def pyramid(w: Tensors, kind: str, maps: list[Tensor], neck: str) -> list[Tensor]:
    def convolve(x: Tensor, name: str, kernel: int) -> Tensor:
        if kind == "retinanet":
            return w.convolve(x, name, PYRAMID, kernel)
        return w.normalize(w.convolve(x, f"{name}.0", PYRAMID, kernel), f"{name}.1")

    levels = (1, 2, 3, 4) if kind == "fpn" else (2, 3, 4)
    features: list[Tensor] = []
    above = None
    for level in reversed(levels):
        lateral = convolve(maps[level - 1], f"{neck}fpn_inner{level}", 1)
        above = lateral if above is None else lateral + interpolate(above, scale_factor=2, mode="nearest")
        features.insert(0, convolve(above, f"{neck}fpn_layer{level}", 3))
    if kind == "fpn":
        return [*features, max_pool2d(features[-1], 1, 2)]
    p6 = w.convolve(features[-1], f"{neck}top_blocks.p6", PYRAMID, 3, 2)
    return [*features, p6, w.convolve(p6.relu(), f"{neck}top_blocks.p7", PYRAMID, 3, 2)]


def anchors_of_cell(stride: int, size: int, octaves: int) -> np.ndarray:
    """x1, y1, x2, y2 of the anchors about the cell at 0, 0."""
    rows = []
    for ratio, octave in product((0.5, 1.0, 2.0), range(octaves)):
        width = np.round(np.sqrt(stride**2 / ratio))
        height = np.round(width * ratio)
        scale = size * 2 ** (octave / octaves) / stride
        middle, half_width, half_height = (stride - 1) / 2, (width * scale - 1) / 2, (height * scale - 1) / 2
        rows.append([middle - half_width, middle - half_height, middle + half_width, middle + half_height])
    return np.array(rows)


def predictions(w: Tensors, kind: str, level: int, values: Tensor, regressed: Tensor) -> tuple[np.ndarray, ...]:
    """Scores (anchors, classes), answers (anchors, 4) and anchors (anchors, 4) of a level, cell by cell."""
    stride = STRIDES[kind][level]
    cell = anchors_of_cell(stride, SIZES[level], 1 if kind == "fpn" else 3)
    stored = torch.from_numpy(cell)
    w[f"rpn.anchor_generator.cell_anchors.{level}"] = stored
    scores, answers, anchors = [], [], []
    for y, x in product(range(values.shape[2]), range(values.shape[3])):
        scores.append(values[0, :, y, x].sigmoid().reshape(len(cell), -1).numpy())
        answers.append(regressed[0, :, y, x].reshape(len(cell), 4).numpy())
        anchors.append(cell + stride * np.array([x, y, x, y]))
    return np.concatenate(scores), np.concatenate(answers), np.concatenate(anchors)


def decode(answers: np.ndarray, boxes: np.ndarray, size: tuple[int, int], weights: tuple[float, ...]) -> np.ndarray:
    """Boxes (n, 4), cut at the image's outermost pixels."""
    dx, dy, dw, dh = (answers / weights).T
    widths, heights = boxes[:, 2] - boxes[:, 0] + 1, boxes[:, 3] - boxes[:, 1] + 1
    x, y = boxes[:, 0] + widths / 2 + dx * widths, boxes[:, 1] + heights / 2 + dy * heights
    largest = np.log(1000 / 16)
    widths, heights = widths * np.exp(np.minimum(dw, largest)), heights * np.exp(np.minimum(dh, largest))
    found = np.stack((x - widths / 2, y - heights / 2, x + widths / 2 - 1, y + heights / 2 - 1), axis=1)
    return np.clip(found, 0, [size[1] - 1, size[0] - 1] * 2)


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Which boxes are left, best first."""
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    waiting, kept = np.argsort(-scores, kind="stable"), []
    while len(waiting):
        first, waiting = waiting[0], waiting[1:]
        kept.append(int(first))
        low, high = np.maximum(boxes[first, :2], boxes[waiting, :2]), np.minimum(boxes[first, 2:], boxes[waiting, 2:])
        inner = np.maximum(high - low + 1, 0).prod(axis=1)
        waiting = waiting[inner / (areas[first] + areas[waiting] - inner) <= threshold]
    return kept


def suppress_by_class(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float):
    kept = [np.where(labels == one)[0] for one in np.unique(labels)]
    kept = [rows[suppress(boxes[rows], scores[rows], threshold)] for rows in kept]
    rows = np.concatenate(kept)
    return boxes[rows], scores[rows], labels[rows]


def faster_rcnn(w: Tensors, features: list[Tensor], size: tuple[int, int], num_classes: int):
    proposals, objectness = [], []
    for level, x in enumerate(features):
        x = w.convolve(x, "rpn.head.conv", PYRAMID, 3).relu()
        values = w.convolve(x, "rpn.head.cls_logits", 3, 1)
        regressed = w.convolve(x, "rpn.head.bbox_pred", 12, 1, gain=0.2)
        scores, answers, anchors = predictions(w, "fpn", level, values, regressed)
        best = np.argsort(-scores[:, 0], kind="stable")[:1000]
        boxes = decode(answers[best], anchors[best], size, (1, 1, 1, 1))
        kept = suppress(boxes, scores[best, 0], 0.7)
        proposals.append(boxes[kept])
        objectness.append(scores[best, 0][kept])
    rows = np.argsort(-np.concatenate(objectness), kind="stable")[:1000]
    boxes = np.concatenate(proposals)[rows]
    x = pool(features, torch.from_numpy(boxes))
    extractor = "roi_heads.box.feature_extractor"
    for place in range(0, 12, 3):
        x = w.convolve(x, f"{extractor}.xconvs.{place}", PYRAMID, 3)
        x = w.normalize(x, f"{extractor}.xconvs.{place + 1}").relu()
    x = w.linear(x.flatten(1), f"{extractor}.fc6", BOX_FEATURES).relu()
    scores = w.linear(x, "roi_heads.box.predictor.cls_score", num_classes + 1, gain=2).softmax(dim=1).numpy()
    answers = w.linear(x, "roi_heads.box.predictor.bbox_pred", 4 * (num_classes + 1)).numpy()
    found = []
    for label in range(1, num_classes + 1):
        rows = np.where(scores[:, label] > 0.05)[0]
        decoded = decode(answers[rows, 4 * label : 4 * label + 4], boxes[rows], size, (10, 10, 5, 5))
        found.append((decoded, scores[rows, label], np.full(len(rows), label)))
    return suppress_by_class(*map(np.concatenate, zip(*found, strict=True)), 0.5)


def pool(features: list[Tensor], boxes: Tensor) -> Tensor:
    sides = ((boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)).sqrt()
    levels = (4 + (sides / 224 + 1e-6).log2()).floor().clamp(2, 5)
    pooled = torch.empty(len(boxes), features[0].shape[1], 7, 7, dtype=boxes.dtype)
    for level, x in enumerate(features[:4], start=2):
        rows = torch.where(levels == level)[0]
        pooled[rows] = roi_align(x, [boxes[rows]], 7, 2.0**-level, 2)
    return pooled


def retinanet(w: Tensors, features: list[Tensor], size: tuple[int, int], num_classes: int):
    if "rpn.head.cls_logits.bias" not in w:
        w["rpn.head.cls_logits.bias"] = torch.full((9 * num_classes,), -2.0, dtype=torch.float64)
    found = []
    for level, x in enumerate(features):
        ends = []
        for tower, last, out in (("cls_tower", "cls_logits", 9 * num_classes), ("bbox_tower", "bbox_pred", 36)):
            y = x
            for place in range(0, 8, 2):
                y = w.convolve(y, f"rpn.head.{tower}.{place}", PYRAMID, 3, gain=1.4).relu()
            ends.append(w.convolve(y, f"rpn.head.{last}", out, 3))
        scores, answers, anchors = predictions(w, "retinanet", level, ends[0], ends[1])
        rows, classes = np.where(scores > 0.05)
        best = np.argsort(-scores[rows, classes], kind="stable")[:1000]
        rows, classes = rows[best], classes[best]
        decoded = decode(answers[rows], anchors[rows], size, (10, 10, 5, 5))
        found.append((decoded, scores[rows, classes], classes + 1))
    return suppress_by_class(*map(np.concatenate, zip(*found, strict=True)), 0.4)
