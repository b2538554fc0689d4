"""Recalibration: a candidate's own BN statistics."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.detection.roi_heads import RoIHeads

from detnas.config import SearchSettings
from detnas.data.detection import DetectionSet
from detnas.utils.seeds import derive_seed


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Any]) -> None:
    """Compute the BN statistics of `model` again from batches of its inputs, except for those behind RoI pooling.

    Detectors take lists of images (3, H, W) float in 0-1, or `PreparedImages`; classifiers, normalized (N, 3, S, S).

    For a copy that `extract_subnet` made: the supernet's shared statistics belong to no candidate, and must not be
    changed by one (paper, section 3.3). Only this BN runs in training mode; no losses are computed and nothing is drawn
    at random. The statistics are plain averages over the batches: with PyTorch's usual momentum of 0.1 only the last
    19 batches would count. As in PyTorch, the variance averaged is the unbiased one of each batch.

    The norms behind RoI pooling keep the statistics of the supernet's training, where RoIs were sampled for the losses,
    up to a quarter of them positive. The official code recomputes these too, from such samples, which takes
    targets and random draws. Of the proposals in a pass without losses nearly all are background: with their
    statistics the box head answers wrongly (research/box_head_norms.py). All paths share the box head, and the maps
    that it pools are normalized by the candidate's own statistics.

    A pass ends with its last norm: heads without one, or with one that is kept, are not computed.
    """
    heads = [module for module in model.modules() if isinstance(module, RoIHeads)]
    kept = {norm for head in heads for norm in head.modules()}
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module not in kept]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    _run_until_last_norm(model, batches, norms, heads)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


class _LastNormRan(Exception):
    """The rest of this pass changes no statistic."""


def _run_until_last_norm(
    model: nn.Module, batches: Iterable[Any], norms: Iterable[nn.Module], heads: Iterable[nn.Module]
) -> None:
    """Forward passes that end with their last norm. The first ends before `heads`, and shows which norm is the last."""
    ran = last = 0

    def count(*_: Any) -> None:
        nonlocal ran
        ran += 1
        if ran == last:
            raise _LastNormRan

    def end(*_: Any) -> None:
        raise _LastNormRan

    hooks = [norm.register_forward_hook(count) for norm in norms]
    hooks += [head.register_forward_pre_hook(end) for head in heads]
    for batch in batches:
        ran = 0
        with suppress(_LastNormRan):
            model(batch)
        last = ran
    for hook in hooks:
        hook.remove()


def recalibration_images(data: DetectionSet, settings: SearchSettings, seed: int) -> DetectionSet:
    """The images of `data` that all candidates of a search are recalibrated on, as often as they are used."""
    return data.subset(recalibration_indices(len(data), settings, seed))


def recalibration_indices(size: int, settings: SearchSettings, seed: int) -> list[int]:
    """Which of `size` images all candidates of a search are recalibrated on: whole permutations one after another, so
    that none repeats before all have been drawn."""
    rng = np.random.default_rng(derive_seed(seed, "recalibration"))
    count = settings.recalibration_batches * settings.recalibration_batch_size
    rounds = [rng.permutation(size) for _ in range(-(-count // size))]
    return [int(index) for index in np.concatenate(rounds)[:count]]


def evaluation_indices(size: int, settings: SearchSettings, seed: int) -> list[int]:
    """Which of the `size` images of the search split all candidates of a search are evaluated on."""
    if settings.images is None or settings.images >= size:
        return list(range(size))
    chosen = np.random.default_rng(derive_seed(seed, "search pictures")).permutation(size)
    return sorted(chosen[: settings.images].tolist())
