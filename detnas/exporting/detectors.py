"""Detectors as ONNX models: whole, from an image to boxes, or only their networks, for `postprocess`."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detnas.exporting.metadata import about_detector
from detnas.exporting.onnx_model import onnx_model, open_session, with_about
from detnas.exporting.postprocess import detections, prepare
from detnas.models.detectors.build import Detector, find_spec, first_label
from detnas.models.detectors.detect import Detections
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.weights import DetectorInfo

OUTPUTS = {
    1: {name: {0: "batch", 1: "anchors"} for name in ("logits", "codes")},
    2: {name: {0: "proposals"} for name in ("proposals", "logits", "codes")},
}
"""The outputs of the networks of a detector with so many stages, and the axes whose length varies."""


@dataclass(frozen=True)
class DetectorModel:
    """An exported detector."""

    files: dict[str, bytes]
    """Contents by suffix of the file name."""
    detect: Callable[[Sequence[Tensor]], list[Detections]]
    """Detections on images (3, H, W) uint8 RGB, by ONNX Runtime."""
    takes_batches: bool
    """Whether `detect` runs several images in one batch."""


def whole_detector(detector: Detector, info: DetectorInfo) -> DetectorModel:
    """What `whole_model` computes, with metadata."""
    data = with_about(whole_model(detector), {"holds": "detector"} | about_detector(info))
    session = open_session(data)

    def detect(images: Sequence[Tensor]) -> list[Detections]:
        return [Detections(*session.run(None, {"image": _pixels(image)})) for image in images]

    return DetectorModel({".onnx": data}, detect, takes_batches=False)


def whole_model(detector: Detector) -> bytes:
    """From `image` (height, width, 3) uint8, RGB, of any size, to `boxes` (n, 4) float32, `scores` (n,) float32 and
    `labels` (n,) int64: those of `Detections`."""
    outputs = ["boxes", "scores", "labels"]
    axes = {"image": {0: "height", 1: "width"}} | {name: {0: "found"} for name in outputs}
    traced = copy.deepcopy(detector)
    traced.transform = _TracedTransform(detector.transform.settings)
    return onnx_model(FromPixels(traced).eval(), (_example(),), inputs=["image"], outputs=outputs, axes=axes)


def raw_detector(detector: Detector, info: DetectorInfo) -> DetectorModel:
    """Backbone, pyramid and heads, for images that `postprocess.prepare` made ready; see `ExportedPart`."""
    part = find_spec(detector).export(detector)
    about = {"holds": "raw detector", **about_detector(info), "stages": part.stages}
    about |= {"unscaled_edge": info.settings.unscaled_edge, **part.about}
    example = prepare([_example().numpy()], about)
    inputs = {name: torch.from_numpy(x) for name, x in example.inputs.items()}
    outputs = list(OUTPUTS[part.stages])
    axes = {"images": {2: "height", 3: "width"}} | OUTPUTS[part.stages]
    if part.stages == 1:
        inputs["images"] = inputs["images"].expand(2, -1, -1, -1)
        axes["images"] = {0: "batch"} | axes["images"]
    model = onnx_model(part.network, tuple(inputs.values()), inputs=list(inputs), outputs=outputs, axes=axes)
    data = with_about(model, about)
    session = open_session(data)

    def detect(given: Sequence[Tensor]) -> list[Detections]:
        batch = prepare([_pixels(one) for one in given], about)
        return [Detections(*found) for found in detections(session.run(None, batch.inputs), batch, about)]

    return DetectorModel({".onnx": data}, detect, takes_batches=part.stages == 1)


class FromPixels(nn.Module):
    """An image (height, width, 3) uint8 -> boxes, scores and labels from 0, by a detector."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (found,) = self.detector([as_detectors_take(image)])
        return found["boxes"], found["scores"], found["labels"] - first_label(self.detector)


def as_detectors_take(image: Tensor) -> Tensor:
    """(height, width, 3) uint8 -> (3, height, width) float in 0-1."""
    return image.permute(2, 0, 1).float() / 255


class _TracedTransform(ImageTransform):
    """Resizes to exactly the eager model's size when it is traced, by computing in float64 as Python does.

    torchvision's transform computes in float32 when it is traced, which makes some images a pixel smaller.
    """

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        sides = torch._shape_as_tensor(image)[1:].double()
        # None of these is a scalar: with such the exporter computes in float32.
        bounds = torch.tensor([self.min_size[0], self.max_size], dtype=torch.float64)
        scale = (bounds / torch.cat((sides.amin(0, keepdim=True), sides.amax(0, keepdim=True)))).amin(0, keepdim=True)
        height, width = (sides * scale).floor().long().unbind()
        size: Any = (height, width)
        return nn.functional.interpolate(image[None], size, mode="bilinear", align_corners=False)[0], target


def _example() -> Tensor:
    """An image (height, width, 3) uint8, on which networks are traced; the check is on others."""
    return torch.randint(0, 256, (70, 90, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _pixels(image: Tensor) -> Any:
    """(3, H, W) -> (H, W, 3)."""
    return image.permute(1, 2, 0).contiguous().numpy()
