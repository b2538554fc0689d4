"""Detectors as ONNX models: whole, from an image to boxes, or the networks alone, for `postprocess`."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.image_list import ImageList

from detnas.exporting.metadata import about_detector
from detnas.exporting.onnx_model import onnx_model, open_session, with_about
from detnas.exporting.postprocess import detections, prepare
from detnas.models.detectors.build import Detector, first_label
from detnas.models.detectors.detect import Detections
from detnas.models.detectors.geometry import CellAnchors, ImageTransform
from detnas.models.weights import DetectorInfo

EXAMPLE = (70, 90)
"""Height and width of the image on which networks are traced; the check is on others."""


@dataclass(frozen=True)
class DetectorModel:
    """An exported detector."""

    files: dict[str, bytes]
    """By the suffix of their names."""
    detect: Callable[[Sequence[Tensor]], list[Detections]]
    """Detections on images (3, H, W) uint8 RGB, by ONNX Runtime."""
    takes_batches: bool
    """Whether it can be given several images at a time."""


def whole_detector(detector: Detector, info: DetectorInfo) -> DetectorModel:
    """From `image` (height, width, 3) uint8, RGB, of any size, to `boxes` (n, 4) float32, `scores` (n,) float32 and
    `labels` (n,) int64: those of `Detections`."""
    outputs = ["boxes", "scores", "labels"]
    model = onnx_model(
        _Whole(detector, info),
        (_example(),),
        inputs=["image"],
        outputs=outputs,
        axes={"image": {0: "height", 1: "width"}} | {name: {0: "found"} for name in outputs},
    )
    data = with_about(model, {"holds": "detector"} | about_detector(info))
    session = open_session(data)

    def detect(images: Sequence[Tensor]) -> list[Detections]:
        return [Detections(*session.run(None, {"image": _pixels(image)})) for image in images]

    return DetectorModel({".onnx": data}, detect, takes_batches=False)


def raw_detector(detector: Detector, info: DetectorInfo) -> DetectorModel:
    """Backbone, pyramid and heads, for images that `postprocess.prepare` made ready; see `_RawRetinaNet` and
    `_RawFasterRCNN`."""
    about = {"holds": "raw detector"} | about_detector(info) | _about_boxes(detector, info)
    batch = prepare([_pixels(_example().permute(2, 0, 1))], about)
    images = torch.from_numpy(batch.inputs["images"])
    sides = {2: "height", 3: "width"}
    if isinstance(detector, RetinaNet):
        anchors = {0: "batch", 1: "anchors"}
        model = onnx_model(
            _RawRetinaNet(detector),
            (images.expand(2, -1, -1, -1),),
            inputs=["images"],
            outputs=["logits", "codes"],
            axes={"images": {0: "batch"} | sides, "logits": anchors, "codes": anchors},
        )
    else:
        outputs = ["proposals", "logits", "codes"]
        model = onnx_model(
            _RawFasterRCNN(detector),
            (images, torch.from_numpy(batch.inputs["size"])),
            inputs=["images", "size"],
            outputs=outputs,
            axes={"images": sides} | {name: {0: "proposals"} for name in outputs},
        )
    data = with_about(model, about)
    session = open_session(data)

    def detect(given: Sequence[Tensor]) -> list[Detections]:
        batch = prepare([_pixels(one) for one in given], about)
        return [Detections(*found) for found in detections(session.run(None, batch.inputs), batch, about)]

    return DetectorModel({".onnx": data}, detect, takes_batches=isinstance(detector, RetinaNet))


class _Whole(nn.Module):
    def __init__(self, detector: Detector, info: DetectorInfo) -> None:
        super().__init__()
        self.detector = copy.deepcopy(detector)
        self.detector.transform = _TracedTransform(info.settings)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (found,) = self.detector([image.permute(2, 0, 1).float() / 255])
        return found["boxes"], found["scores"], found["labels"] - first_label(self.detector)


class _TracedTransform(ImageTransform):
    """Its graph resizes to the very size that the eager model does, for which it computes in float64 as Python does.

    torchvision's own computes in float32 where it is traced, which makes some images a pixel smaller.
    """

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        sides = torch._shape_as_tensor(image)[1:].double()
        # None of these is a scalar: with such the exporter computes in float32.
        bounds = torch.tensor([self.min_size[0], self.max_size], dtype=torch.float64)
        scale = (bounds / torch.cat((sides.amin(0, keepdim=True), sides.amax(0, keepdim=True)))).amin(0, keepdim=True)
        height, width = (sides * scale).floor().long().unbind()
        size: Any = (height, width)
        return nn.functional.interpolate(image[None], size, mode="bilinear", align_corners=False)[0], target


class _RawRetinaNet(nn.Module):
    """(N, 3, H, W) -> logits (N, anchors, classes) and codes of boxes (N, anchors, 4), level by level."""

    def __init__(self, detector: RetinaNet) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        answers = self.head(list(self.backbone(images).values()))
        return answers["cls_logits"], answers["bbox_regression"]


class _RawFasterRCNN(nn.Module):
    """(1, 3, H, W) and its size (2,) without the padding -> proposals (n, 4), logits (n, 1 + classes) with the
    background first, and codes of boxes (n, 4 + 4 classes).

    What the second stage sees depends on the first, so that choosing the proposals is part of the graph.
    """

    def __init__(self, detector: FasterRCNN) -> None:
        super().__init__()
        self.backbone, self.rpn, self.heads = detector.backbone, detector.rpn, detector.roi_heads
        self.eval()

    def forward(self, images: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.backbone(images)
        sizes: Any = [(size[0], size[1])]
        proposals, _ = self.rpn(ImageList(images, sizes), maps)
        logits, codes = self.heads.box_predictor(self.heads.box_head(self.heads.box_roi_pool(maps, proposals, sizes)))
        return proposals[0], logits, codes


def _about_boxes(detector: Detector, info: DetectorInfo) -> dict[str, Any]:
    """What `postprocess` needs beside the detector's settings."""
    about: dict[str, Any] = {"unscaled_edge": info.settings.unscaled_edge}
    if isinstance(detector, RetinaNet):
        anchors = detector.anchor_generator
        return about | {
            "box_weights": list(detector.box_coder.weights),
            "cell_anchors": [cell.tolist() for cell in anchors.cell_anchors],
            "anchor_strides": list(anchors.strides) if isinstance(anchors, CellAnchors) else None,
        }
    return about | {"box_weights": list(detector.roi_heads.box_coder.weights)}


def _example() -> Tensor:
    """An image (height, width, 3) uint8."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (*EXAMPLE, 3), dtype=torch.uint8, generator=generator)


def _pixels(image: Tensor) -> Any:
    """(3, H, W) -> (H, W, 3)."""
    return image.permute(1, 2, 0).contiguous().numpy()
