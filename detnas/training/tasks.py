"""The tasks of training, classification and detection: samples, batches and losses."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import default_collate

from detnas.config import Preprocessing
from detnas.data.packed_images import flatten_image, unflatten_image
from detnas.data.samples import DetectionSamples, Target
from detnas.models.detectors.build import first_label
from detnas.models.preprocessing import normalize

Losses = tuple[dict[str, Tensor], dict[str, Tensor]]
"""The parts of the loss, whose sum is minimized, and other metrics to log; all are scalar tensors."""


class Task(Protocol):
    """What the training loop needs of a task."""

    samples: Any
    """A map-style data set indexed by `detnas.data.samples.Key`. `iterate_batches` uses its `is_portrait`, if any."""

    def collate(self, samples: list[Any]) -> Any:
        """Make a batch of a list of samples."""

    def losses(self, model: nn.Module, batch: Any, device: torch.device) -> Losses: ...


class ClassificationTask:
    """Cross-entropy with label smoothing on images (N, 3, S, S) uint8 and labels (N,) int64."""

    def __init__(self, samples: Any, label_smoothing: float, preprocessing: Preprocessing) -> None:
        self.samples = samples
        self.label_smoothing = label_smoothing
        self.preprocessing = preprocessing

    def collate(self, samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        images, labels = default_collate(samples)  # in a worker, it stacks them in shared memory
        return images, labels

    def inputs(self, images: Tensor, device: torch.device) -> Tensor:
        """The images as a classifier takes them: float32, normalized, on `device`."""
        return normalize(images.to(device, non_blocking=True).float() / 255, self.preprocessing)

    def losses(self, model: nn.Module, batch: tuple[Tensor, Tensor], device: torch.device) -> Losses:
        labels = batch[1].to(device, non_blocking=True)
        logits = model(self.inputs(batch[0], device))
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
        return {"classification": loss}, {"accuracy": accuracy}


class DetectionBatch(NamedTuple):
    """Images with their targets as few tensors, which are fast to send between processes and to a device."""

    pixels: Tensor
    """(P,) uint8: the values of all images (H, W, 3), concatenated."""
    sizes: list[tuple[int, int]]
    """Height and width of each image."""
    boxes: Tensor
    """(B, 4) float32: x1, y1, x2, y2 in pixels, ordered by image."""
    labels: Tensor
    """(B,) int64, from 0."""
    counts: list[int]
    """The number of boxes of each image."""


class DetectionTask:
    """The losses that the detector itself computes from images and targets."""

    def __init__(self, samples: DetectionSamples) -> None:
        self.samples = samples

    def collate(self, samples: list[tuple[Tensor, Target]]) -> DetectionBatch:
        images, targets = zip(*samples, strict=True)
        return DetectionBatch(
            pixels=torch.cat([flatten_image(image) for image in images]),
            sizes=[tuple(image.shape[1:]) for image in images],
            boxes=torch.cat([target["boxes"] for target in targets]),
            labels=torch.cat([target["labels"] for target in targets]),
            counts=[len(target["labels"]) for target in targets],
        )

    def losses(self, model: nn.Module, batch: DetectionBatch, device: torch.device) -> Losses:
        pixels, boxes, labels = (
            part.to(device, non_blocking=True) for part in (batch.pixels, batch.boxes, batch.labels)
        )
        parts = pixels.split_with_sizes([3 * height * width for height, width in batch.sizes])
        images = [unflatten_image(part, *size).float() / 255 for part, size in zip(parts, batch.sizes, strict=True)]
        by_image = (part.split_with_sizes(batch.counts) for part in (boxes, labels + first_label(model)))
        targets = [{"boxes": of_image, "labels": own} for of_image, own in zip(*by_image, strict=True)]
        return model(images, targets), {}
