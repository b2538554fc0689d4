"""The paper's recipes hold the paper's figures, as collected in shared/paper.md (its sections are named below)."""

from functools import cache
from typing import Any

import pytest

from detnas.config import FPNSettings, Recipe, RetinaNetSettings, load_recipe, recipe_names
from detnas.spaces import BudgetSampler
from detnas.training.schedules import learning_rate


@cache
def paper(name: str) -> Recipe:
    return load_recipe(name)


PAPER = [name for name in recipe_names() if name.startswith("paper-")]
NAMES = {
    *("paper-coco-fpn-small", "paper-coco-fpn-large", "paper-coco-retinanet-small", "paper-coco-retinanet-large"),
    *("paper-voc-fpn", "paper-voc-retinanet", "paper-scratch", "paper-clsnas"),
    *("paper-random-search", "paper-random-nets"),
}

CLASSIFICATION = {  # 2 and 5
    "steps": 300_000,
    "batch_size": 1024,
    "optimizer": "sgd",
    "momentum": 0.9,
    "lr": 0.5,
    "schedule": "linear",
    "warmup": 0,
    "weight_decay": 4e-5,
    "decay_norms": False,
    "bias_lr_factor": 1,
    "label_smoothing": 0.1,
    "color_jitter": 0.4,
    "flip": 0.5,
    "vertical_flip": 0,
    "clip_norm": None,
    "precision": "fp32",
}
DETECTION = {  # 3.1
    "batch_size": 16,
    "optimizer": "sgd",
    "momentum": 0.9,
    "schedule": "step",
    "warmup": 500,
    "weight_decay": 1e-4,
    "decay_norms": True,
    "bias_lr_factor": 2,
    "flip": 0.5,
    "vertical_flip": 0,
    "color_jitter": 0,
    "scale_jitter": None,
    "clip_norm": None,
    "precision": "fp32",
}
STEPS = {"coco": (90_000, 60_000, 80_000), "voc": (22_500, 15_000, 20_000)}  # 3.1: all, and where the rate drops
RATE = {"fpn": 0.02, "retinanet": 0.01}  # 3.1
IMAGES = {  # 3.1
    "min_size": 800,
    "max_size": 1333,
    "channel_order": "bgr",
    "image_mean": (0, 0, 0),
    "image_std": (1 / 255, 1 / 255, 1 / 255),
}
FPN = {  # 3.2
    "strides": (4, 8, 16, 32),
    "fpn_channels": 256,
    "norm": "batch",
    "anchor_sizes": (32, 64, 128, 256, 512),
    "anchor_ratios": (0.5, 1, 2),
    "rpn_candidates_train": 2000,
    "rpn_candidates": 1000,
    "box_convs": 4,
    "box_channels": 256,
    "box_features": 1024,
    "rois": 512,
    "score_threshold": 0.05,
    "nms_threshold": 0.5,
    "detections": 100,
}
RETINANET = {  # 3.3
    "strides": (8, 16, 32),
    "extra_levels": 2,
    "fpn_channels": 256,
    "norm": "none",
    "head_convs": 4,
    "losses": "paper",
    "anchor_sizes": (32, 64, 128, 256, 512),
    "anchor_scales": (1, 2 ** (1 / 3), 2 ** (2 / 3)),
    "anchor_ratios": (0.5, 1, 2),
    "candidates": 1000,
    "score_threshold": 0.05,
    "nms_threshold": 0.4,
}
SEARCH = {  # 4.1
    "evaluations": 1000,
    "population": 50,
    "num_parents": 10,
    "num_mutations": 20,
    "num_crossovers": 20,
    "mutation_probability": 0.1,
}
ARCHITECTURES = {"small": (20, 300e6), "large": (40, 1.3e9)}  # 1.1 and 4.1: blocks, MACs of the body


def check(section: Any, figures: dict[str, Any]) -> None:
    assert {name: getattr(section, name) for name in figures} == figures


def size_of(name: str) -> str:
    return "large" if name.endswith("-large") else "small"


def test_every_experiment_has_its_recipe() -> None:
    assert set(PAPER) == NAMES


@pytest.mark.parametrize("name", PAPER)
def test_the_figures_are_the_papers(name: str) -> None:
    recipe = paper(name)
    assert recipe.device == "auto"
    blocks, macs = ARCHITECTURES[size_of(name)]
    assert recipe.space.name == size_of(name) and recipe.space.width == 1
    assert sum(recipe.search_space().repeats) == blocks
    assert (recipe.budget.macs_min, recipe.budget.macs_max, recipe.budget.size) == (None, macs, 224)
    assert (recipe.budget.params_min, recipe.budget.params_max) == (None, None)

    classification = {"source": "folder", "image_size": 224, "head_channels": 1024, "min_scale": 0.08}
    check(recipe.pretraining, classification | {"supernet": name != "paper-scratch"})
    for settings in (recipe.supernet_pretrain, recipe.pretrain):
        check(settings, CLASSIFICATION)
        # Linear to zero, a step at a time.
        assert [learning_rate(settings, step) for step in (0, 150_000)] == [0.5, 0.25]
        assert learning_rate(settings, 299_999) == pytest.approx(0.5 / 300_000)
    assert recipe.supernet_pretrain.macs_bins is None and recipe.supernet_finetune.macs_bins is None

    detector = "retinanet" if "retinanet" in name else "fpn"
    steps, first, second = STEPS["voc" if "voc" in name else "coco"]
    for settings in (recipe.supernet_finetune, recipe.finetune):
        check(settings, DETECTION | {"lr": RATE[detector], "steps": steps})
        rates = {step: learning_rate(settings, step) / RATE[detector] for step in (0, 499, 500, *near(first, second))}
        expected = {0: 1 / 3, 499: (1 + 2 * 499 / 500) / 3, 500: 1, first - 1: 1, first: 0.1, second - 1: 0.1}
        assert rates == pytest.approx(expected | {second: 0.01})

    assert recipe.detector.type == detector
    assert isinstance(recipe.detector, FPNSettings if detector == "fpn" else RetinaNetSettings)
    check(recipe.detector, IMAGES | (FPN if detector == "fpn" else RETINANET))

    check(recipe.search, SEARCH | ({"sampler": "random"} if name == "paper-random-search" else {}))
    assert recipe.data.search_images == 5000  # 3.4


def near(*steps: int) -> list[int]:
    return [step - before for step in steps for before in (1, 0)]


@pytest.mark.parametrize("name", PAPER)
def test_the_sets_are_the_papers(name: str) -> None:
    data = paper(name).data
    if "voc" in name:  # 3.4
        assert data.names_of("train") == ("VOC2007/trainval", "VOC2012/trainval")
        assert data.names_of("val") == ("VOC2007/test",)
    else:
        assert data.names_of("train") == ("annotations/instances_train2017.json",)
        assert data.names_of("val") == ("annotations/instances_val2017.json",)


@pytest.mark.parametrize("name", PAPER)
def test_candidates_are_evaluated_as_in_the_paper(name: str) -> None:
    search = paper(name).search
    if name == "paper-clsnas":
        assert (search.fitness, search.score_name, search.images) == ("classification", "accuracy", 8000)
        assert search.recalibration_batch_size == 128
    else:
        assert (search.fitness, search.images) == ("detection", None)
        assert search.score_name == ("VOC07" if "voc" in name else "mAP")  # 4.1
        assert search.recalibration_batches * search.recalibration_batch_size == 500  # 4.2


def test_the_held_out_images_of_clsnas_are_enough_to_evaluate_on() -> None:
    recipe = paper("paper-clsnas")
    assert recipe.search.images is not None
    assert recipe.search.images <= round(1_281_167 * recipe.pretraining.search_fraction) < 8100


def test_the_baselines_are_the_papers() -> None:
    baselines = {name: paper(name).baselines for name in PAPER}
    assert baselines["paper-random-nets"] == ("random", "random2", "random3", "random4", "random5")
    assert {"resnet50", "resnet101", "shufflenetv2-40"} <= set(baselines["paper-coco-fpn-large"])  # 6.2
    for name in NAMES - {"paper-random-nets"}:
        assert f"shufflenetv2-{ARCHITECTURES[size_of(name)][0]}" in baselines[name]


def test_the_official_bins_in_the_comment_are_those_of_the_code() -> None:
    """Seven bins of 10M from 290M to 360M in all; last convolution and classifier have 33,136,640 (1.3, 2)."""
    from detnas.config.loading import RECIPES

    lines = (RECIPES / "paper-coco-fpn-small.yaml").read_text().splitlines()
    (line,) = [line.strip(" #") for line in lines if "macs_bins: [" in line]
    changed = load_recipe("paper-coco-fpn-small", [f"supernet_pretrain.{line.replace(': ', '=', 1)}"])
    edges = changed.supernet_pretrain.macs_bins
    assert edges is not None and [edge + 33_136_640 for edge in edges] == [290e6 + 10e6 * bin for bin in range(8)]


@pytest.mark.parametrize("name", PAPER)
def test_only_what_an_experiment_is_about_differs_from_the_main_one(name: str) -> None:
    allowed = {
        "paper-scratch": {"pretraining"},
        "paper-clsnas": {"pretraining", "search"},
        "paper-random-search": {"search"},
        "paper-random-nets": {"baselines"},
        "paper-coco-fpn-large": {"space", "budget", "baselines"},
        "paper-coco-retinanet-small": {"detector", "supernet_finetune", "finetune"},
        "paper-voc-fpn": {"data", "search", "supernet_finetune", "finetune"},
    }
    one, main = paper(name).model_dump(), paper("paper-coco-fpn-small").model_dump()
    differ = {key for key in main if one[key] != main[key]} - {"name"}
    if name in allowed:
        assert differ == allowed[name]


def test_budgets_can_be_met() -> None:
    for name in ("paper-coco-fpn-small", "paper-coco-fpn-large"):
        recipe = paper(name)
        assert BudgetSampler(recipe.search_space(), recipe.cost_budget()).share() > 0.5
