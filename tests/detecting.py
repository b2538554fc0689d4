"""Small detectors that find something everywhere, though they have learned nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from detnas.config import FPNSettings, RetinaNetSettings
from detnas.models.detectors.build import Detector
from detnas.models.weights import DetectorInfo, save_detector
from detnas.spaces import Architecture, SearchSpace

SPACE = SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1))
ARCHITECTURE = Architecture.parse("13 2 03 3")
CATEGORIES = ((3, "a"), (5, "b"), (8, "c"))
SIZES = [(48, 48), (100, 31), (64, 96), (50, 60)]
"""Heights and widths of images. Computed in float32, the second and the last would be resized to a pixel less."""

SHARED: dict[str, Any] = {"min_size": 64, "max_size": 96, "fpn_channels": 16, "anchor_sizes": (8, 16, 24, 32, 48)}
SHARED |= {"score_threshold": 0.3, "detections": 20}
PROPOSALS: dict[str, Any] = {"rpn_candidates": 40, "proposals": 20, "roi_canonical_size": 64}
PROPOSALS |= {"box_convs": 1, "box_channels": 16, "box_features": 32}


def settings(kind: str, **changes: Any) -> FPNSettings | RetinaNetSettings:
    if kind == "fpn":
        return FPNSettings.model_validate(SHARED | PROPOSALS | changes)
    return RetinaNetSettings.model_validate(SHARED | {"candidates": 40} | changes)


def detector(
    kind: str, space: SearchSpace = SPACE, architecture: Architecture = ARCHITECTURE, **changes: Any
) -> tuple[Detector, DetectorInfo]:
    """One in evaluation mode, whose BN has the statistics of noise, and whose scores lie far apart."""
    info = DetectorInfo(space, architecture, settings(kind, **changes), CATEGORIES)
    torch.manual_seed(0)
    made = info.build().eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.train()
    scores = made.head.classification_head.cls_logits if kind == "retinanet" else made.roi_heads.box_predictor.cls_score
    seen: list[Tensor] = []
    hook = scores.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten()))
    with torch.no_grad():
        made([image.float() / 255 for image in noise()])
        made.eval()
        seen.clear()
        made([image.float() / 255 for image in noise()])
        nn.init.normal_(scores.weight)
        scores.weight *= (0.7 if kind == "retinanet" else 2) / (torch.cat(seen).std() * scores.weight[0].numel() ** 0.5)
        nn.init.zeros_(scores.bias)
    hook.remove()
    return made, info


def noise() -> list[Tensor]:
    """Images (3, H, W) uint8."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in SIZES]


def write_noise(folder: Path) -> list[Path]:
    files = [folder / f"{number}.png" for number in range(len(SIZES))]
    for file, image in zip(files, noise(), strict=True):
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(file)
    return files


def write_weights(file: Path, kind: str = "retinanet", **changes: Any) -> Path:
    save_detector(file, *detector(kind, **changes))
    return file
