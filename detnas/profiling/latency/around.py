"""What stands around a backbone in a detector, as networks that are timed."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from detnas.config import DetectorSettings, Recipe
from detnas.exporting.detectors import as_detectors_take
from detnas.models.backbone import Backbone, Subnet
from detnas.models.detectors.build import Detector, build_detector, find_spec
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.detectors.prepared import prepare
from detnas.search.evaluators.recalibration import recalibrate
from detnas.spaces import Architecture, DetectorParts, SearchSpace, Size

SHORTER_SIDE = 480
"""Of the image on which detectors are timed, before it is resized; it has the recipe's aspect ratio."""


@dataclass(frozen=True)
class DetectorAround:
    """The detectors of a recipe's space at one resolution. Nothing in the recipe that costs depend on is `auto`.

    What is done after a network depends on what it finds. Here as many boxes are above the score threshold, before
    non-maximum suppression, as an image may have detections.
    """

    recipe: Recipe
    resolution: int | None

    @cached_property
    def space(self) -> SearchSpace:
        """The recipe's, at this resolution alone."""
        return replace(self.recipe.search_space(), resolutions=() if self.resolution is None else (self.resolution,))

    @cached_property
    def parts(self) -> DetectorParts:
        return self.recipe.detector_parts(self.resolution)

    @cached_property
    def image(self) -> Tensor:
        """A random image (height, width, 3) uint8."""
        ratio = self.recipe.budget.aspect_ratio
        assert ratio != "auto"
        sides = (
            (SHORTER_SIDE, round(SHORTER_SIDE * ratio)) if ratio >= 1 else (round(SHORTER_SIDE / ratio), SHORTER_SIDE)
        )
        return torch.randint(0, 256, (*sides, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    @cached_property
    def head_variants(self) -> dict[tuple[int, ...], list[tuple[int, int]]]:
        """Ops of all convolutions of the head, of which first each is the first that it can be, and then those of equal
        channels are another one; with the convolutions and their ops in which they differ from the first."""
        allowed = self.space.head.allowed_ops
        alike: dict[tuple[tuple[int, int], tuple[int, ...]], list[int]] = {}
        for place, (ops, channels) in enumerate(zip(allowed, chain(*self.recipe.detector.head_channels), strict=False)):
            alike.setdefault((channels, ops), []).append(place)
        first = tuple(ops[0] for ops in allowed)
        variants: dict[tuple[int, ...], list[tuple[int, int]]] = {first: []}
        for (_, ops), places in alike.items():
            for op in ops[1:]:
                changed = tuple(op if place in places else usual for place, usual in enumerate(first))
                variants[changed] = [(place, op) for place in places]
        return variants

    def with_head(self, backbone: Architecture, ops: tuple[int, ...]) -> Architecture:
        return replace(backbone, head=self.space.head.group(ops))

    def detector(self, architecture: Architecture) -> Detector:
        """The detector of an architecture of `space`, in evaluation mode, with fresh weights."""
        settings = self.recipe.detector_of(architecture)
        known = self._build(architecture, settings)
        threshold = _score_of(known, settings, self._pixels)
        return self._build(architecture, settings.model_copy(update={"score_threshold": threshold}))

    def before(self) -> nn.Module:
        """The image (height, width, 3) uint8 -> what the backbone receives."""
        return _Before(ImageTransform(self.recipe.detector.at(self.resolution)).eval())

    def maps(self, detector: Detector) -> list[Tensor]:
        """The maps that the pyramid of a detector uses, of the image."""
        batch, _ = detector.transform(self._pixels)
        body = detector.backbone.body
        of_all = zip(body.strides, body(batch.tensors), strict=True)
        return [x for stride, x in of_all if stride in detector.backbone.strides]

    def after(self, detector: Detector) -> nn.Module:
        """The maps that the pyramid uses -> boxes, scores and labels. Changes the detector."""
        batch, _ = detector.transform(self._pixels)
        return _After(detector, (self.image.shape[0], self.image.shape[1]), batch).eval()

    @property
    def _pixels(self) -> list[Tensor]:
        return [as_detectors_take(self.image)]

    def _build(self, architecture: Architecture, settings: DetectorSettings) -> Detector:
        torch.manual_seed(0)
        detector = build_detector(Subnet(self.space, architecture), self.recipe.classes, settings).eval()
        # So that fresh weights neither let maps vanish nor grow beyond what numbers can be; of two images, since the
        # smallest maps of one may be a single pixel.
        (image,) = self._pixels
        recalibrate(detector, [prepare(detector.transform, [image, image.flip(2)])])
        return detector


def _score_of(detector: Detector, settings: DetectorSettings, images: list[Tensor]) -> float:
    """The score that as many boxes exceed as an image may have detections."""
    part = find_spec(detector).export(detector)
    batch, _ = detector.transform(images)
    if part.stages == 1:
        scores = part.network(batch.tensors)[0].sigmoid()
    else:
        scores = part.network(batch.tensors, torch.tensor(batch.image_sizes[0]))[1].softmax(dim=1)[:, 1:]
    best = scores.flatten().topk(min(settings.detections + 1, scores.numel())).values
    return float(best[-2:].mean())


class _Before(nn.Module):
    """Resizes, normalizes and pads an image."""

    def __init__(self, transform: ImageTransform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, image: Tensor) -> Tensor:
        batch, _ = self.transform([as_detectors_take(image)])
        pixels: Tensor = batch.tensors
        return pixels


class _After(nn.Module):
    """Pyramid, heads and post-processing."""

    def __init__(self, detector: Detector, image: Size, batch: ImageList) -> None:
        super().__init__()
        self.body = _Given()
        self.body.strides = list(detector.backbone.strides)
        detector.backbone.body = self.body
        detector.transform = _Resized(detector.transform.settings, batch)
        self.detector = detector
        self.size = image

    def forward(self, *maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.body.maps = list(maps)
        (found,) = self.detector([maps[0].new_zeros(3, *self.size)])
        return found["boxes"], found["scores"], found["labels"]


class _Given(Backbone):
    """A backbone whose maps are given."""

    maps: list[Tensor]

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.maps


class _Resized(ImageTransform):
    """Knows what becomes of the one image, of which only the size is used."""

    def __init__(self, settings: DetectorSettings, batch: ImageList) -> None:
        super().__init__(settings)
        self.batch = batch

    def forward(self, images: list[Tensor], targets: None = None) -> tuple[ImageList, None]:  # type: ignore[override]
        return self.batch, None
