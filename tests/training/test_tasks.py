"""What is learned: the losses against written-out ones."""

from typing import Any

import pytest
import torch
import torch.utils.data._utils.pin_memory as pinning
from small_recipe import small_recipe
from torch import Tensor, nn

from detnas.config import Preprocessing
from detnas.models.detectors.build import Detector, build_detector, first_label
from detnas.models.supernet import Supernet
from detnas.training.tasks import ClassificationTask, DetectionBatch, DetectionTask

CPU = torch.device("cpu")


@pytest.mark.parametrize(("smoothing", "order"), [(0.0, "rgb"), (0.1, "rgb"), (0.1, "bgr")])
def test_classification_is_smoothed_cross_entropy_of_normalized_images(smoothing: float, order: Any) -> None:
    settings = Preprocessing(image_mean=(0.1, 0.2, 0.3), image_std=(0.5, 1.0, 2.0), channel_order=order)
    task = ClassificationTask([], smoothing, settings)
    images = torch.arange(2 * 3 * 2 * 2, dtype=torch.uint8).reshape(2, 3, 2, 2) * 10
    batch = task.collate([(images[0], 2), (images[1], 0)])
    seen = []

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return logits

    logits = torch.tensor([[1.0, 2.0, 0.5], [0.2, -1.0, 3.0]])
    parts, figures = task.losses(Model(), batch, CPU)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 1.0, 2.0])
    expected = (images.float() / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(seen[0], expected if order == "rgb" else expected[:, [2, 1, 0]])
    target = torch.full((2, 3), smoothing / 3)
    target[0, 2] += 1 - smoothing
    target[1, 0] += 1 - smoothing
    by_hand = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert parts.keys() == {"classification"} and parts["classification"].item() == pytest.approx(by_hand.item())
    assert figures["accuracy"].item() == 0.0
    assert task.losses(Model(), (batch[0], torch.tensor([1, 0])), CPU)[1]["accuracy"].item() == 0.5


@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
def test_detection_hands_over_the_labels_as_the_detector_counts_them(detector: str) -> None:
    recipe = small_recipe(detector)
    model: Detector = build_detector(Supernet(recipe.search_space()), 3, recipe.detector)
    received: list[Any] = []
    model.forward = lambda images, targets: received.extend((images, targets)) or {"all": torch.tensor(2.5)}
    samples: Any = [None]
    task = DetectionTask(samples)
    pixels = torch.full((3, 4, 6), 51, dtype=torch.uint8)
    target = {"boxes": torch.tensor([[0.0, 1.0, 2.0, 3.0]]), "labels": torch.tensor([2])}
    empty = {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}
    batch = task.collate([(pixels, target), (pixels[:, :2], empty)])
    parts, figures = task.losses(model, batch, CPU)
    images, targets = received
    assert [tuple(image.shape) for image in images] == [(3, 4, 6), (3, 2, 6)]
    assert all(torch.allclose(image, torch.tensor(0.2)) for image in images)
    assert targets[0]["labels"].tolist() == [2 + first_label(model)] == [3 if detector == "fpn" else 2]
    assert targets[0]["boxes"].tolist() == [[0, 1, 2, 3]] and targets[1]["labels"].tolist() == []
    assert target["labels"].tolist() == [2]  # the sample, which may be cached, is left as it was
    assert parts["all"].item() == 2.5 and figures == {}


def test_all_of_a_batch_is_pinned_and_nothing_of_it_is_shared_with_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent to another process takes its whole memory with it, which of a view is that of all images."""
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor, *_: pinned.append(tensor) or tensor)
    samples: Any = [None]
    cache = torch.zeros(1000, dtype=torch.uint8)
    target = {"boxes": torch.tensor([[0.0, 1.0, 2.0, 3.0]]), "labels": torch.tensor([2])}
    image = cache[30:102].view(3, 4, 6)
    detection = DetectionTask(samples).collate([(image, target)])
    classification = ClassificationTask([], 0.0, Preprocessing()).collate([(image, 2)])
    for batch in (detection, classification):
        pinned.clear()
        pinning.pin_memory(batch)
        tensors = [part for part in batch if isinstance(part, Tensor)]
        assert len(pinned) == len(tensors) >= 2 and all(
            one is other for one, other in zip(pinned, tensors, strict=True)
        )
        assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in tensors)
    batch = pinning.pin_memory(detection)
    assert isinstance(batch, DetectionBatch)
    recipe = small_recipe("fpn")
    model: Detector = build_detector(Supernet(recipe.search_space()), 3, recipe.detector)
    model.forward = lambda images, targets: {"shape": torch.tensor(images[0].shape)}
    assert DetectionTask(samples).losses(model, batch, CPU)[0]["shape"].tolist() == [3, 4, 6]
