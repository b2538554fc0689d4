"""A miniature recipe, the whole pipeline in a few seconds with either detector, and a data set of colored blocks."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from detnas.config import Recipe

DETECTORS: dict[str, dict[str, Any]] = {
    "retinanet": {
        "type": "retinanet",
        "strides": [8, 16, 32],
        "extra_levels": 0,
        "anchor_sizes": [12, 20, 32],
        "anchor_scales": [1.0],
        "anchor_ratios": [1.0],
        "norm": "batch",
        "head_convs": 1,
        "candidates": 30,
    },
    "fpn": {
        "type": "fpn",
        "anchor_sizes": [8, 12, 20, 32, 48],
        "anchor_ratios": [1.0],
        "rpn_candidates_train": 20,
        "rpn_candidates": 20,
        "proposals_train": 20,
        "proposals": 10,
        "rois": 8,
        "roi_canonical_size": 48,
        "box_convs": 1,
        "box_channels": 8,
        "box_features": 16,
    },
}

SHARED = {"min_size": 48, "max_size": 64, "fpn_channels": 8, "score_threshold": 0.0, "detections": 20}


def training(**changes: Any) -> dict[str, Any]:
    """Settings of one training; two checkpoints."""
    settings = {"steps": 20, "batch_size": 2, "optimizer": "adamw", "lr": 1e-3, "schedule": "cosine", "warmup": 2}
    return settings | {"clip_norm": 5, "checkpoint_every": 10} | changes


def small_tree(detector: str = "retinanet", **changes: Any) -> dict[str, Any]:
    """The recipe as it stands in a YAML file; `changes` are keys such as `search__population`."""
    tree: dict[str, Any] = {
        "name": "small",
        "seed": 3,
        "device": "cpu",
        "workers": 1,
        "data": {
            "shapes": {"train": 24, "val": 8, "size": 48, "crops": 24, "crop_size": 32, "min_object": 12},
            "search_fraction": 0.25,
        },
        "space": {"name": "tiny", "width": 0.25},
        "budget": {"of": "backbone"},
        "detector": SHARED | copy.deepcopy(DETECTORS[detector]),
        "pretraining": {"source": "crops", "image_size": 32, "head_channels": 16},
        "supernet_pretrain": training(batch_size=4, color_jitter=0.2),
        "supernet_finetune": training(scale_jitter=[0.8, 1.2]),
        "search": {
            "evaluations": 6,
            "population": 3,
            "num_parents": 2,
            "num_mutations": 1,
            "num_crossovers": 1,
            "recalibration_batches": 2,
            "recalibration_batch_size": 2,
            "batch_size": 4,
        },
        "pretrain": training(batch_size=4, steps=10),
        "finetune": training(steps=10, vertical_flip=0.5),
    }
    for name, value in changes.items():
        *parents, last = name.split("__")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return tree


def small_recipe(detector: str = "retinanet", **changes: Any) -> Recipe:
    return Recipe.model_validate(small_tree(detector, **changes))


def write_recipe(path: Path, detector: str = "retinanet", **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(small_tree(detector, **changes), sort_keys=False))
    return path


COLORS = {0: (220, 30, 30), 7: (30, 200, 30), 90: (40, 40, 230)}
"""What the blocks of each category are painted with: ids from 0, with gaps."""


def write_blocks(folder: Path, train: int = 24, val: int = 8, size: int = 48) -> Path:
    """A COCO folder of one or two colored blocks an image; with val=0 there is no validation set."""
    for split, count in (("train", train), ("val", val)):
        if count:
            _write_split(folder, split, count, size)
    return folder


def _write_split(folder: Path, split: str, count: int, size: int) -> None:
    (folder / split).mkdir(parents=True)
    rng = np.random.default_rng(len(split))
    images, annotations = [], []
    for id in range(count):
        image = rng.integers(0, 60, (size, size, 3)).astype(np.uint8)
        for _ in range(1 + id % 2):
            category = int(rng.choice(list(COLORS)))
            width, height = (int(side) for side in rng.integers(size // 4, size // 2, 2))
            x, y = int(rng.integers(size - width)), int(rng.integers(size - height))
            image[y : y + height, x : x + width] = COLORS[category]
            box = [x, y, width, height]
            annotations.append({"id": len(annotations), "image_id": id, "category_id": category, "bbox": box})
        images.append({"id": id, "file_name": f"{split}{id}.png", "width": size, "height": size})
        Image.fromarray(image).save(folder / split / f"{split}{id}.png")
    categories = [{"id": id, "name": f"color {id}"} for id in COLORS]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{split}.json").write_text(json.dumps(tree))


def write_class_folder(folder: Path, images: int = 4, size: int = 32) -> Path:
    """An image folder for classification: three classes of one color each."""
    for category, color in COLORS.items():
        (folder / f"c{category}").mkdir(parents=True)
        for number in range(images):
            Image.new("RGB", (size, size), tuple(value + number for value in color)).save(
                folder / f"c{category}" / f"{number}.png"
            )
    return folder


def flattened(state: Any, path: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries and lists, by path."""
    if isinstance(state, dict | list | tuple):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        leaves: dict[str, Any] = {}
        for name, value in items:
            leaves |= flattened(value, f"{path}/{name}")
        return leaves
    return {path: state}


def assert_same(one: Any, other: Any) -> None:
    """Two nested states with tensors are equal, bit for bit."""
    leaves, others = flattened(one), flattened(other)
    assert leaves.keys() == others.keys()
    for path, value in leaves.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == others[path].dtype and torch.equal(value, others[path]), path
        else:
            assert value == others[path], path


def checkpoint(directory: Path) -> Any:
    """What the last checkpoint in a training's directory holds."""
    return torch.load(max(directory.glob("checkpoint-*.pt")), weights_only=True)


def assert_learned(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """The same tensors, except for BN statistics."""
    left, right = (
        {name: x for name, x in of.items() if "running_" not in name and "num_batches" not in name}
        for of in (found, expected)
    )
    torch.testing.assert_close(left, right, atol=1e-20, rtol=0)
