"""What is learnt: classification or detection. A task knows its samples and its losses, not who chooses the path."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from detnas.config import Preprocessing
from detnas.data.samples import DetectionSamples, Target
from detnas.models.detectors import first_label
from detnas.models.preprocessing import normalise


class Task(Protocol):
    """What the training loop asks of a task."""

    samples: Any
    """A map-style data set indexed by `detnas.data.samples.Key`."""

    def collate(self, samples: list[Any]) -> Any:
        """A batch from samples."""

    def losses(self, model: nn.Module, batch: Any, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The parts of the loss, which are summed and minimised, and other figures worth watching."""


class ClassificationTask:
    """Cross-entropy with label smoothing on pictures (N, 3, S, S) uint8 and labels (N,)."""

    def __init__(self, samples: Any, label_smoothing: float, preprocessing: Preprocessing) -> None:
        self.samples = samples
        self.label_smoothing = label_smoothing
        self.preprocessing = preprocessing

    def collate(self, samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        images, labels = zip(*samples, strict=True)
        return torch.stack(images), torch.tensor(labels)

    def inputs(self, images: Tensor, device: torch.device) -> Tensor:
        """What a classifier takes: the pictures normalised, on `device`."""
        return normalise(images.to(device, non_blocking=True).float() / 255, self.preprocessing)

    def losses(
        self, model: nn.Module, batch: tuple[Tensor, Tensor], device: torch.device
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        labels = batch[1].to(device, non_blocking=True)
        logits = model(self.inputs(batch[0], device))
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
        return {"classification": loss}, {"accuracy": accuracy}


class DetectionTask:
    """The detector's own losses on lists of pictures (3, H, W) uint8 and targets."""

    def __init__(self, samples: DetectionSamples) -> None:
        self.samples = samples

    def collate(self, samples: list[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
        images, targets = zip(*samples, strict=True)
        return list(images), list(targets)

    def losses(
        self, model: nn.Module, batch: tuple[list[Tensor], list[Target]], device: torch.device
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        images = [image.to(device, non_blocking=True).float() / 255 for image in batch[0]]
        targets = [
            {
                "boxes": target["boxes"].to(device, non_blocking=True),
                "labels": target["labels"].to(device, non_blocking=True) + first_label(model),
            }
            for target in batch[1]
        ]
        return model(images, targets), {}
