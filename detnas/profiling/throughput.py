"""About how long a recipe takes on this device: a few steps are measured, on small images, and scaled up."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from detnas.config import DetectorSettings, Recipe
from detnas.models.backbone import Subnet
from detnas.models.classifier import Classifier
from detnas.models.create import Network
from detnas.models.detectors.build import build_detector, first_label
from detnas.profiling.workload import images_per_stage, split_sizes

MEASURED_SIDE = 128
MEASURED_PIXELS = 2 * 128 * 128
"""Times are measured on images no larger than this, in batches of about so many pixels, and scaled up."""
COUNTS = ("rpn_candidates_train", "rpn_candidates", "proposals_train", "proposals", "rois", "candidates")
"""The detectors' settings that say how many boxes an image are worked on."""
LONG = 0.3
"""Seconds after which a measurement is not repeated."""
ASSUMED_CLASSES = 20
"""A recipe does not say how many classes the data set has."""


@dataclass(frozen=True)
class Throughput:
    """Seconds an image."""

    train_classifier: float
    classify: float
    train_detector: float
    detect: float


def expected(recipe: Recipe, median: Subnet, others: Iterable[Network], device: torch.device) -> dict[str, float]:
    """Seconds by stage, of a recipe whose candidates are like `median` and whose baselines are `others`.

    A pass of the supernet costs what a step of one of its paths costs.
    """
    pace = _pace(recipe, median, device)
    # Of the winner, then of the baselines.
    paces = [pace, *(_scaled(pace, network.cost().macs / median.cost().macs, recipe) for network in others)]
    ops = len(median.space.ops)
    images = images_per_stage(recipe, *split_sizes(recipe))
    judge = pace.classify if recipe.search.by_classification else pace.detect
    if recipe.search.proposals:
        _, judge = _detection_seconds(recipe.search_detector, median, device)
    return {
        "supernet-pretrain": images["supernet-pretrain"]
        * recipe.supernet_pretrain.paths_per_step(ops)
        * pace.train_classifier,
        "supernet-finetune": images["supernet-finetune"]
        * recipe.supernet_finetune.paths_per_step(ops)
        * pace.train_detector,
        "search": images["search"] * judge,
        "pretrain": images["pretrain"] * sum(one.train_classifier for one in paces),
        "finetune": sum(images["finetune"] * one.train_detector + images["evaluate"] * one.detect for one in paces),
    }


def _scaled(pace: Throughput, ratio: float, recipe: Recipe) -> Throughput:
    """The pace of a network with `ratio` times the MACs: in a detector only the backbone's part, which is about what
    the classifier takes, changes with it."""
    more = (ratio - 1) * (recipe.detector.min_size / recipe.pretraining.image_size) ** 2
    return Throughput(
        train_classifier=ratio * pace.train_classifier,
        classify=ratio * pace.classify,
        train_detector=pace.train_detector + more * pace.train_classifier,
        detect=pace.detect + more * pace.classify,
    )


def _pace(recipe: Recipe, network: Network, device: torch.device) -> Throughput:
    classification = (0.0, 0.0)
    if recipe.pretraining.source != "none":
        classification = _classification_seconds(recipe, network, device)
    return Throughput(*classification, *_detection_seconds(recipe.detector, network, device))


def _batch(side: int) -> int:
    # Two at least: BN in training needs more than one value a channel.
    return max(2, MEASURED_PIXELS // side**2)


def _classification_seconds(recipe: Recipe, network: Network, device: torch.device) -> tuple[float, float]:
    """Of training and of judging, an image."""
    side = min(recipe.pretraining.image_size, MEASURED_SIDE)
    share = (side / recipe.pretraining.image_size) ** 2
    batch = _batch(side)
    model = Classifier(network, ASSUMED_CLASSES, recipe.pretraining.head_channels).to(device).train()
    images = torch.rand(batch, 3, side, side, device=device)
    scale = 1 / share / batch
    trained = _seconds(lambda: model(images).square().mean().backward(), device) * scale
    model.eval()
    with torch.no_grad():
        return trained, _seconds(lambda: model(images), device) * scale


def _detection_seconds(settings: DetectorSettings, network: Network, device: torch.device) -> tuple[float, float]:
    """Of training and of detection, an image."""
    side = min(settings.min_size, MEASURED_SIDE)
    share = (side / settings.min_size) ** 2
    # Work by the box, too, is measured in proportion to the pixels, and scaled up with them.
    fewer = {name: max(1, round(getattr(settings, name) * share)) for name in COUNTS if hasattr(settings, name)}
    small = settings.model_copy(update={"min_size": side, "max_size": side, **fewer})
    model = build_detector(network, ASSUMED_CLASSES, small).to(device)
    batch = _batch(side)
    images = [torch.rand(3, side, side, device=device) for _ in range(batch)]
    box = torch.tensor([[side * 0.2, side * 0.2, side * 0.6, side * 0.7]], device=device)
    targets = [{"boxes": box, "labels": torch.tensor([first_label(model)], device=device)} for _ in images]

    def step() -> None:
        losses: dict[str, Tensor] = model(images, targets)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())

    @torch.no_grad()
    def detect() -> None:
        model(images)

    scale = 1 / share / batch
    model.train()
    trained = _seconds(step, device) * scale
    model.eval()
    return trained, _seconds(detect, device) * scale


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    """The shortest of up to three runs of `work`; the first, which also warms up, is enough where it is long."""
    times: list[float] = []
    while len(times) < 3 and sum(times) < LONG:
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)
