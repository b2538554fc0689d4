"""What each stage of a run sees, and how it is set up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_results import NETWORKS
from small_recipe import assert_same, checkpoint, small_recipe

import detnas.run.context as running
import detnas.run.networks as networks
import detnas.run.pipeline as pipeline
from detnas.data.images import Images
from detnas.data.splits import open_data
from detnas.models.backbone import find_backbone
from detnas.models.detectors.build import Detector
from detnas.models.supernet import Supernet
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import BudgetSampler
from detnas.utils.progress import Progress


def test_every_stage_sees_the_images_it_may_see(blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Supernets none of the search split, and nobody the validation set before the evaluation."""
    recipe = small_recipe(baselines=["shuffle3"], search__evaluations=2)
    stage = ["before"]
    seen: dict[str, set[Path]] = {}
    images = Images.__getitem__

    def spied(self: Images, index: int) -> torch.Tensor:
        seen.setdefault(stage[0], set()).add(self.files[index])
        return images(self, index)

    def within(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*args: Any) -> Any:
            outside, stage[0] = stage[0], name
            try:
                return work(*args)
            finally:
                stage[0] = outside

        return inside

    monkeypatch.setattr(Images, "__getitem__", spied)
    for name, work in pipeline.STAGES.items():
        monkeypatch.setitem(pipeline.STAGES, name, within(name, work))
    monkeypatch.setattr(networks, "_evaluate", within("evaluate", networks._evaluate))
    pipeline.run(recipe, tmp_path / "run", blocks)
    data = open_data(blocks, recipe.data, recipe.seed)
    fit, split, train, val = (set(part.files) for part in (data.fit, data.search, data.train, data.val))
    assert len(fit) == 18 and len(split) == 6 and fit | split == train and not train & val
    assert seen["supernet-pretrain"] <= fit and len(seen["supernet-pretrain"]) > 10
    assert seen["supernet-finetune"] <= fit and len(seen["supernet-finetune"]) > 10
    assert split <= seen["search"] <= fit | split
    assert seen["pretrain"] <= train and seen["pretrain"] & split
    assert seen["finetune"] <= train and seen["finetune"] & split
    assert seen["evaluate"] == val
    assert seen.keys() == {"supernet-pretrain", "supernet-finetune", "search", "pretrain", "finetune", "evaluate"}


def test_images_kept_on_the_disk_give_the_same_bytes(blocks: Path, tmp_path: Path) -> None:
    """Of images that are reduced in training, but not where candidates are evaluated."""
    changes = {
        "detector__min_size": 32,
        "detector__max_size": 40,
        "pretraining__source": "none",
        "supernet_finetune__steps": 10,
        "search__evaluations": 1,
        "search__population": 1,
        "search__num_mutations": 0,
        "search__num_crossovers": 0,
    }
    for name, cache_mb, disk_cache_mb in (("memory", 10, 0), ("disk", 0, 1)):
        recipe = small_recipe(**changes, data__cache_mb=cache_mb, data__disk_cache_mb=disk_cache_mb)
        pipeline.run(recipe, tmp_path / name, blocks, stages=("supernet-finetune", "search"))
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    assert_same(checkpoint(disk / "supernet-finetune"), checkpoint(memory / "supernet-finetune"))
    found, expected = (json.loads((run / "search" / "best.json").read_text())["fitness"] for run in (disk, memory))
    assert found == expected
    assert not (memory / "images").exists()
    sides = [round(((path.stat().st_size - 8) / 3) ** 0.5) for path in (disk / "images").glob("??/*")]
    # 39 is 32 times the largest factor of `scale_jitter`. The search split and what is recalibrated on,
    # by candidates and by the check of that, are whole.
    assert sides.count(39) >= 10 and sides.count(48) == 6 + 4 + 4 and len(sides) == sides.count(39) + sides.count(48)


def test_winner_and_baselines_are_trained_alike(blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(search__evaluations=2)
    seen: dict[str, Any] = {}
    train = running.train

    def spied(model: torch.nn.Module, task: Any, settings: Any, directory: Path, **rest: Any) -> None:
        # Samples are compared by what they look like: changes, classes and order are in there.
        samples = [task.samples[index, 5][0].sum().item() for index in range(len(task.samples))]
        seen[str(directory.relative_to(tmp_path / "run"))] = settings, rest["seed"], samples, type(model)
        train(model, task, settings, directory, **rest)

    monkeypatch.setattr(running, "train", spied)
    pipeline.run(recipe, tmp_path / "run", blocks)
    for stage in ("pretrain", "finetune"):
        told = [seen[f"{stage}/{network}"] for network in NETWORKS]
        assert told[0] == told[1] == told[2] and told[0][0] == getattr(recipe, stage)
    assert len({seen[name][1] for name in ("pretrain/winner", "finetune/winner", "supernet-finetune")}) == 3


@pytest.mark.parametrize("init", ["official", "fan_in"])
def test_fresh_networks_are_initialized_as_the_recipe_says(blocks: Path, tmp_path: Path, init: str) -> None:
    recipe = small_recipe(init=init)
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    data = open_data(blocks, recipe.data, recipe.seed)
    run = running.Run(recipe, tmp_path, data, sampler, torch.device("cpu"), Progress(quiet=True))
    for model in (run.classifier(lambda: Supernet(run.space), 3), run.detector(lambda: Supernet(run.space), None)):
        kernels = [
            module.weight.flatten()
            for module in find_backbone(model).modules()
            if isinstance(module, torch.nn.Conv2d) and module.groups > 1 and module.kernel_size == (7, 7)
        ]
        assert torch.cat(kernels).std().item() == pytest.approx(1 / 7 if init == "fan_in" else 1, rel=0.1)


def test_candidates_are_evaluated_with_as_many_proposals_as_the_search_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Detector] = []
    init = DetectionEvaluator.__init__

    def spied(self: DetectionEvaluator, detector: Detector, *args: Any, **settings: Any) -> None:
        seen.append(detector)
        init(self, detector, *args, **settings)

    monkeypatch.setattr(DetectionEvaluator, "__init__", spied)
    recipe = small_recipe("fpn", pretraining__source="none", supernet_finetune__steps=6, search__proposals=3)
    pipeline.run(recipe, tmp_path, stages=("supernet-finetune", "search"))
    (detector,) = seen
    assert detector.eval().rpn.post_nms_top_n() == 3 != recipe.detector.proposals
