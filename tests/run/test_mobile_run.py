"""A run in the mobile space from ImageNet weights, and all that can be done with it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from shell import Shell
from small_recipe import assert_learned, assert_same, small_recipe, training, write_recipe

import detnas
from detnas.config import Recipe
from detnas.models.backbone import SpaceBackbone, Subnet, find_backbone
from detnas.models.weight_sources.efficientnet_lite import INPUT, read_shipped
from detnas.models.weights import load_detector
from detnas.profiling.dry_run import dry_run
from detnas.run.opening import open_run
from detnas.run.pipeline import run, search_run
from detnas.run.ranking import rank
from detnas.spaces import Architecture, search_space
from detnas.utils.progress import Progress

QUIET = Progress(quiet=True)
SPACE = search_space("mobile")
SHORT = training(steps=3, warmup=1, checkpoint_every=3)
CHANGES: dict[str, Any] = {
    "space": {"name": "mobile"},
    "pretraining": {"source": "weights", "weights": "efficientnet-lite0"},
    "supernet_finetune": SHORT,
    "finetune": SHORT,
    "baselines": ["efficientnet-lite0"],
    "detector__min_size": 96,  # smaller images are nothing in the last maps but what numbers are rounded by
    "detector__max_size": 128,
    "search__evaluations": 3,
    "search__population": 2,
    **{f"detector__{name}": value for name, value in INPUT.model_dump(mode="json").items()},
}
SKIPPING = "04 14 044 104 2434 0"


def recipe() -> Recipe:
    return small_recipe(**CHANGES)


@pytest.fixture(scope="module")
def finished_mobile(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    folder = tmp_path_factory.mktemp("mobile")
    return run(str(write_recipe(folder / "recipe.yaml", **CHANGES)), folder / "run", blocks)


@pytest.fixture
def copy(finished_mobile: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_mobile, tmp_path / "run"))


def test_supernet_and_networks_begin_with_imagenet_weights(finished_mobile: Path, blocks: Path) -> None:
    weights = read_shipped(SPACE)

    def filled(backbone: SpaceBackbone) -> dict[str, torch.Tensor]:
        weights.fill(backbone)
        return dict(backbone.state_dict())

    with open_run(recipe(), finished_mobile, blocks, QUIET) as current:
        detector = current.detector(current.supernet)
        current.begin_supernet(detector)
        assert_same(dict(find_backbone(detector).state_dict()), filled(current.supernet()))
        for name, architecture in (("efficientnet-lite0", "00 11 000 111 1111 0"), ("winner", SKIPPING)):
            network = Subnet(SPACE, Architecture.parse(architecture))
            detector = current.detector(lambda network=network: network)
            current.begin_network(name, detector)
            assert_learned(network.state_dict(), filled(Subnet(SPACE, network.architecture)))


def test_it_is_told_with_which_weights_it_began(finished_mobile: Path, shell: Shell) -> None:
    told = "The supernet and all networks begin with learned weights: efficientnet-lite0 (SHA-256 579344248a93…)."
    assert told in shell("status", finished_mobile)
    page = (finished_mobile / "report.html").read_text()
    assert told in page and ">mbconv1<" in page  # the fixed block of the drawing
    assert {path.name for path in finished_mobile.iterdir() if path.is_dir()} == {
        "supernet-finetune", "search", "finetune"
    }  # fmt: skip


def test_other_architectures_are_ranked_and_trained(copy: Path, shell: Shell) -> None:
    shell("retrain", copy, SKIPPING)
    folder = copy / "finetune" / SKIPPING.replace(" ", "-")
    _, info = load_detector(folder / "detector.safetensors")
    assert str(info.architecture) == SKIPPING
    rank(copy, 3, QUIET)
    assert len(json.loads((copy / "rank" / "ranking.json").read_text())["networks"]) == 3


def test_a_run_that_was_cut_ends_the_same(copy: Path, finished_mobile: Path, blocks: Path) -> None:
    whole = (finished_mobile / "detector.safetensors").read_bytes()
    shutil.rmtree(copy / "supernet-finetune")
    shutil.rmtree(copy / "search")
    shutil.rmtree(copy / "finetune" / "winner")
    (copy / "detector.safetensors").unlink()
    run(str(finished_mobile.parent / "recipe.yaml"), copy, blocks)
    assert (copy / "detector.safetensors").read_bytes() == whole


def test_another_worker_joins_the_search(copy: Path) -> None:
    before = (copy / "search" / "candidates.jsonl").read_bytes()
    shutil.rmtree(copy / "search")
    search_run(copy, QUIET, join=True)
    seen, known = (
        [json.loads(line)["fitness"] for line in text.splitlines()]
        for text in ((copy / "search" / "candidates.jsonl").read_bytes(), before)
    )
    assert seen == known


@pytest.mark.parametrize("format", ["onnx", "onnx-raw", "onnx-backbone", "py"])
def test_its_winner_is_exported(format: str, finished_mobile: Path, tmp_path: Path) -> None:
    said: list[str] = []
    weights = finished_mobile / "detector.safetensors"
    suffix = "py" if format == "py" else "onnx"
    detnas.export(weights, format, tmp_path / f"a.{suffix}", log=said.append)
    assert "checked on 8 images" in said[1]


def test_a_dry_run_runs_every_stage(blocks: Path) -> None:
    rows = {row.name: row for row in dry_run(recipe(), blocks, QUIET)}
    networks = ("winner", "efficientnet-lite0")
    trained = [row for name in networks for row in (f"finetune/{name}", f"evaluate {name}")]
    assert list(rows) == ["supernet-finetune", "search", *trained, "report"]
