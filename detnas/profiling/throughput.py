"""A rough estimate of how long a recipe takes: a few steps are measured on small images and scaled up."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from detnas.config import DetectorSettings, Recipe
from detnas.config.auto import ASSUMED_CLASSES
from detnas.config.beginnings import is_pretrained
from detnas.models.backbone import Subnet
from detnas.models.classifier import Classifier
from detnas.models.create import Network
from detnas.models.detectors.build import build_detector, first_label
from detnas.profiling.workload import images_per_stage, split_sizes
from detnas.rundir.layout import WINNER

MEASURED_SIDE, MEASURED_PIXELS = 128, 2 * 128 * 128
"""Measurements use images of at most this side, in batches of about this many pixels, and are scaled up."""
LONG_SECONDS = 0.3
"""A measurement that takes longer than this is not repeated."""


@dataclass(frozen=True)
class ImageSeconds:
    """Seconds per image of a network in each kind of work."""

    train_classifier: float
    classify: float
    train_detector: float
    detect: float


def estimate_seconds(
    recipe: Recipe, median: Subnet, baselines: Iterable[Network], device: torch.device
) -> dict[str, float]:
    """Estimated seconds per stage of a recipe with candidates similar to `median`."""
    of_median = _measure(recipe, median, device)
    ratios = [network.cost().macs / median.cost().macs for network in baselines]
    of_networks = [of_median, *(_scale(of_median, ratio, recipe) for ratio in ratios)]
    names, ops = (WINNER, *recipe.baselines), len(median.space.ops)
    images = images_per_stage(recipe, *split_sizes(recipe))
    evaluation = of_median.classify if recipe.search.is_classification else of_median.detect
    if recipe.search.proposals:
        _, evaluation = _measure_detector(recipe.search_detector, median, device)
    # A pass of the supernet is assumed to cost as much as a step of the subnet that it samples.
    pretrain_passes = recipe.supernet_pretrain.paths_per_step(ops)
    finetune_passes = recipe.supernet_finetune.paths_per_step(ops)
    return {
        "supernet-pretrain": images["supernet-pretrain"] * pretrain_passes * of_median.train_classifier,
        "supernet-finetune": images["supernet-finetune"] * finetune_passes * of_median.train_detector,
        "search": images["search"] * evaluation,
        **_finals(recipe, images, of_median),
        "pretrain": images["pretrain"]
        * sum(
            one.train_classifier for name, one in zip(names, of_networks, strict=True) if is_pretrained(recipe, name)
        ),
        "finetune": sum(
            images["finetune"] * one.train_detector + images["evaluate"] * one.detect for one in of_networks
        ),
    }


def _finals(recipe: Recipe, images: dict[str, int], of_median: ImageSeconds) -> dict[str, float]:
    """The seconds of the finals, if the recipe has them."""
    if not recipe.finals:
        return {}
    entrants = recipe.finals.entrants()
    pretraining = is_pretrained(recipe, WINNER) * entrants[0] * images["pretrain"] * of_median.train_classifier
    evaluation = sum(entrants) * split_sizes(recipe)[0] * of_median.detect
    return {"finals": pretraining + images["finals"] * of_median.train_detector + evaluation}


def _scale(seconds: ImageSeconds, ratio: float, recipe: Recipe) -> ImageSeconds:
    """The seconds of a network with `ratio` times the MACs."""
    # Of a detector's seconds only the backbone's change, which are about the classifier's at the detector's image size.
    more = (ratio - 1) * (recipe.detector.min_size / recipe.pretraining.image_size) ** 2
    return ImageSeconds(
        train_classifier=ratio * seconds.train_classifier,
        classify=ratio * seconds.classify,
        train_detector=seconds.train_detector + more * seconds.train_classifier,
        detect=seconds.detect + more * seconds.classify,
    )


def _measure(recipe: Recipe, network: Network, device: torch.device) -> ImageSeconds:
    pretrains = recipe.pretrains
    classification = _measure_classifier(recipe, network, device) if pretrains else (0.0, 0.0)
    return ImageSeconds(*classification, *_measure_detector(recipe.detector, network, device))


def _measure_classifier(recipe: Recipe, network: Network, device: torch.device) -> tuple[float, float]:
    """Seconds per image of training and of evaluation."""
    side, batch_size, scale = _scaled_batch(recipe.pretraining.image_size)
    model = Classifier(network, ASSUMED_CLASSES, recipe.pretraining.head_channels).to(device)
    images = torch.rand(batch_size, 3, side, side, device=device)
    return _time_both(model, images, lambda: model(images).square().mean().backward(), scale, device)


def _measure_detector(settings: DetectorSettings, network: Network, device: torch.device) -> tuple[float, float]:
    """Seconds per image of training and of detection."""
    side, batch_size, scale = _scaled_batch(settings.min_size)
    # The number of boxes is reduced in proportion to the pixels, so that their work scales up in the same way.
    pixel_fraction = (side / settings.min_size) ** 2
    counts = {name: max(1, round(getattr(settings, name) * pixel_fraction)) for name in settings.BOX_COUNTS}
    small = settings.model_copy(update={"min_size": side, "max_size": side, **counts})
    model = build_detector(network, ASSUMED_CLASSES, small).to(device)
    images = [torch.rand(3, side, side, device=device) for _ in range(batch_size)]
    box = torch.tensor([[side * 0.2, side * 0.2, side * 0.6, side * 0.7]], device=device)
    targets = [{"boxes": box, "labels": torch.tensor([first_label(model)], device=device)} for _ in images]

    def step() -> None:
        torch.stack([*model(images, targets).values()]).sum().backward()  # type: ignore[no-untyped-call]

    return _time_both(model, images, step, scale, device)


def _scaled_batch(size: int) -> tuple[int, int, float]:
    """The side and number of the images to measure instead of images of `size`, and the factor to one of these."""
    side = min(size, MEASURED_SIDE)
    batch_size = max(2, MEASURED_PIXELS // side**2)  # BN in training needs more than one value per channel
    return side, batch_size, (size / side) ** 2 / batch_size


def _time_both(
    model: nn.Module, images: Any, train: Callable[[], None], scale: float, device: torch.device
) -> tuple[float, float]:
    """Seconds of `train` and of evaluation of `model` on `images`, times `scale`."""
    model.train()
    training = _time(train, device) * scale
    model.eval()
    with torch.no_grad():
        return training, _time(lambda: model(images), device) * scale


def _time(work: Callable[[], None], device: torch.device) -> float:
    """The shortest of up to three runs of `work` in seconds. Long work is run once, without warm-up."""
    times: list[float] = []
    while len(times) < 3 and sum(times) < LONG_SECONDS:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)
