"""Runs whose recipe leaves the sizes of anchors, or what a detector costs, to the data set."""

from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch
from run_results import snapshot
from shell import Shell
from small_recipe import small_recipe, write_blocks, write_recipe
from torch.utils.flop_counter import FlopCounterMode

import detnas.run.auto as auto
import detnas.run.pipeline as pipeline
from detnas.config import load_recipe
from detnas.config.auto import fill_usual
from detnas.data.splits import open_data
from detnas.models.detectors.build import find_spec
from detnas.models.weights import load_detector
from detnas.profiling.dry_run import dry_run
from detnas.run.auto import fit_auto
from detnas.run.retraining import retrain
from detnas.rundir.layout import EVALUATION
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

AUTO = {"detector__anchor_sizes": "auto"}


def stored_sizes(run: Path) -> Any:
    return load_recipe(run / "recipe.yaml").detector.anchor_sizes


def begin(recipe: Path, run: Path, data: Path | None, *changes: str) -> None:
    pipeline.run(str(recipe), run, data, changes, stages=())


@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
def test_a_run_stores_the_sizes_that_fit_its_training_images(detector: str, blocks: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", detector, **AUTO)
    begin(recipe, tmp_path / "run", blocks)
    settings = small_recipe(detector, **AUTO)
    train = open_data(blocks, settings.data, settings.seed).train
    sizes = stored_sizes(tmp_path / "run")
    assert sizes == fit_auto(settings, train).detector.anchor_sizes
    assert len(sizes) == settings.detector.pyramid_levels
    before = snapshot(tmp_path / "run")
    begin(recipe, tmp_path / "run", blocks)
    begin(recipe, tmp_path / "run", None, f"detector.anchor_sizes={list(sizes)}")
    begin(tmp_path / "run" / "recipe.yaml", tmp_path / "run", blocks)
    assert snapshot(tmp_path / "run").keys() == before.keys()
    assert all(snapshot(tmp_path / "run")[name][1] == before[name][1] for name in before)


def test_validation_images_do_not_count(blocks: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", **AUTO)
    begin(recipe, tmp_path / "run", blocks)
    for number, size in enumerate((48, 24)):
        folder = write_blocks(tmp_path / f"data{number}", train=24, val=0, size=48)
        write_blocks(tmp_path / f"other{number}", train=0, val=8, size=size)
        for name in ("val", "val.json"):
            (tmp_path / f"other{number}" / name).rename(folder / name)
        begin(recipe, tmp_path / f"run{number}", folder)
        assert stored_sizes(tmp_path / f"run{number}") == stored_sizes(tmp_path / "run")


def test_sizes_of_the_embedded_data_set(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", **AUTO)
    begin(recipe, tmp_path / "run", None)
    sizes = stored_sizes(tmp_path / "run")
    begin(recipe, tmp_path / "run", None)
    assert stored_sizes(tmp_path / "run") == sizes != "auto"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: tree, "detector.anchor_sizes: [12, 20, 32] there, ["),
        (lambda tree: tree | {"seed": 4}, "seed: 3 there, 4 here"),
        (lambda tree: tree | {"detector__max_size": 70}, "detector.max_size: 64 there, 70 here"),
    ],
)
def test_a_run_with_other_sizes_is_another_run(
    change: Callable[[dict[str, Any]], dict[str, Any]], said: str, blocks: Path, tmp_path: Path
) -> None:
    begin(write_recipe(tmp_path / "numbers.yaml"), tmp_path / "run", blocks)
    before = snapshot(tmp_path / "run")
    with pytest.raises(UserError, match="holds the run of another recipe") as refusal:
        begin(write_recipe(tmp_path / "recipe.yaml", **change(AUTO)), tmp_path / "run", blocks)
    assert said in str(refusal.value)
    assert {name: text for name, (_, text) in snapshot(tmp_path / "run").items()} == {
        name: text for name, (_, text) in before.items()
    }


def test_another_detector_is_another_run(blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(write_recipe(tmp_path / "recipe.yaml", "retinanet", **AUTO), tmp_path / "run", blocks)
    monkeypatch.setattr(auto, "fit_anchor_sizes", None)  # it is refused before the data set is read
    with pytest.raises(UserError, match=r"detector\.type: 'retinanet' there, 'fpn' here"):
        begin(write_recipe(tmp_path / "fpn.yaml", "fpn", **AUTO), tmp_path / "run", blocks)


def test_all_that_follows_knows_the_numbers(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    run = tmp_path / "run"
    recipe = write_recipe(tmp_path / "recipe.yaml", baselines=[], **AUTO)
    assert "Anchor sizes that fit the boxes of the training images: " in shell(
        "run", recipe, "--out", run, "--data", blocks
    )
    sizes = stored_sizes(run)
    assert load_detector(run / "detector.safetensors")[1].settings.anchor_sizes == sizes
    shell("search", run)
    retrain(run, [Architecture.parse("00 00 0000 00")], Progress(quiet=True))
    trained = load_detector(run / "finetune" / "00-00-0000-00" / "detector.safetensors")[1]
    assert trained.settings.anchor_sizes == sizes
    shell("evaluate", run / "detector.safetensors", "--data", blocks)
    shell("export", run / "detector.safetensors", "--format", "py", "--out", tmp_path / "network.py")


def test_a_dry_run_fits_them_to_its_images(blocks: Path) -> None:
    changes = {"baselines": (), "pretraining__source": "none", "search__evaluations": 2, "search__population": 2}
    names = [row.name for row in dry_run(small_recipe(**AUTO, **changes), blocks, Progress(quiet=True))]
    assert {"supernet-finetune", "search", "finetune/winner"} <= set(names)


def test_costs_are_those_of_any_sizes() -> None:
    recipe = small_recipe(**AUTO)
    assumed = fill_usual(recipe).detector
    assert assumed.anchor_sizes == (32, 64, 128)
    assert assumed == recipe.detector.model_copy(update={"anchor_sizes": (32, 64, 128)})


def macs_of(weights: Path, image: tuple[int, int]) -> int:
    """Of the detector in a weights file, counted by its layers."""
    detector = load_detector(weights)[0].eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        find_spec(detector).export(detector).network(torch.rand(1, 3, *image))
    return int(counter.get_total_flops()) // 2


def test_a_budget_of_the_detector_is_kept_by_what_is_delivered(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    run = tmp_path / "run"
    known = small_recipe(budget={"of": "detector", "aspect_ratio": 1, "classes": 3})
    costs = BudgetSampler(known.search_space(), known.cost_budget()).tables[None]
    least, most = costs.extent("macs")
    recipe = write_recipe(tmp_path / "recipe.yaml", baselines=["resnet50"], budget__of="detector")
    shell("run", recipe, "--out", run, "--data", blocks, "--set", f"budget.macs_max={(least + most) // 2}")
    stored = load_recipe(run / "recipe.yaml")
    assert (stored.budget.aspect_ratio, stored.budget.classes) == (1.0, 3)
    evaluation = EVALUATION.read(run / "finetune" / "winner")
    macs = macs_of(run / "detector.safetensors", (64, 64))
    assert least <= macs == evaluation.macs <= (least + most) // 2
    assert macs == sum(part.macs for part in evaluation.parts.values())
    other = EVALUATION.read(run / "finetune" / "resnet50")
    assert other.macs == sum(part.macs for part in other.parts.values()) > most
    share = f"backbone {evaluation.parts['backbone'].macs / macs:.0%}, pyramid"
    assert f"the whole detector: {share}" in shell("status", run)
    assert "those of the whole detector. The winner's detector has" in unescape((run / "report.html").read_text())


def test_a_budget_of_the_detector_that_nothing_meets_is_refused_before_training(
    blocks: Path, tmp_path: Path, shell: Shell
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", budget__of="detector", budget__macs_max=1000)
    said = shell.refused("run", recipe, "--out", tmp_path / "run", "--data", blocks)
    assert "budget.macs: no detector of space tiny" in said and "at 64x64 pixels" in said
    assert not (tmp_path / "run" / "supernet-pretrain").exists()
