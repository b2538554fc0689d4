"""A search space of six blocks, and detectors of both kinds over it that take milliseconds."""

import torch
from torch import Tensor, nn

from detnas.config import FPNSettings, RetinaNetSettings
from detnas.spaces import Architecture, SearchSpace

SPACE = SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1))
ARCHITECTURES = [Architecture.parse(text) for text in ("00 0 00 0", "13 2 03 3", "31 3 20 1", "22 1 31 2")]

NUM_CLASSES = 3


def randomize(model: nn.Module, seed: int = 0, variance: tuple[float, float] = (0.5, 2.0)) -> None:
    """Give BN statistics and shifts that a trained network could have: fresh ones hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, *variance),
            ):
                tensor.data.uniform_(low, high, generator=generator)


def fpn(**changes: object) -> FPNSettings:
    settings: dict[str, object] = {
        "min_size": 64,
        "max_size": 96,
        "fpn_channels": 16,
        "anchor_sizes": (8, 16, 24, 32, 48),
        "rpn_candidates_train": 40,
        "rpn_candidates": 40,
        "proposals_train": 40,
        "proposals": 20,
        "rois": 16,
        "roi_canonical_size": 64,
        "box_channels": 16,
        "box_features": 32,
        "score_threshold": 0.0,
        "detections": 20,
    }
    return FPNSettings.model_validate(settings | changes)


def retinanet(**changes: object) -> RetinaNetSettings:
    settings: dict[str, object] = {
        "min_size": 64,
        "max_size": 96,
        "fpn_channels": 16,
        "anchor_sizes": (8, 16, 24, 32, 48),
        "candidates": 40,
        "score_threshold": 0.0,
        "detections": 20,
    }
    return RetinaNetSettings.model_validate(settings | changes)


SETTINGS = {"fpn": fpn, "retinanet": retinanet}


def random_images(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Images (3, H, W) float in 0-1 of the given heights and widths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, height, width, generator=generator) for height, width in sizes]


def targets(first_label: int, *boxes: list[list[float]]) -> list[dict[str, Tensor]]:
    """torchvision's targets; each image's boxes take the classes in turn."""
    return [
        {
            "boxes": torch.tensor(rows, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.arange(len(rows)) % NUM_CLASSES + first_label,
        }
        for rows in boxes
    ]
