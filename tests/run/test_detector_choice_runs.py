"""Runs whose detectors choose their resolution and head."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_results import snapshot
from shell import Shell
from small_recipe import small_recipe, training, write_recipe

import detnas.run.pipeline as pipeline
from detnas.config import FPNSettings, Recipe, RetinaNetSettings
from detnas.models.backbone import Subnet
from detnas.models.detectors.build import build_detector, set_resolution
from detnas.models.supernet import Supernet, activate_path, extract_subnet
from detnas.models.weights import load_detector
from detnas.run.evaluator import build_evaluator
from detnas.run.opening import open_run
from detnas.rundir.layout import CANDIDATES, EVALUATION
from detnas.spaces import Architecture
from detnas.utils.progress import Progress

QUIET = Progress(quiet=True)
SIDES = [32, 48, 64]
OPS = ("full", "separable", "skip")
CHANGES: dict[str, Any] = {
    "space": {"name": "tiny", "width": 0.25, "resolutions": SIDES, "head_ops": ["full", "separable", "skip"]},
    "budget__of": "detector",
    "pretraining__source": "none",
    "supernet_finetune": training(steps=12, checkpoint_every=4),
    "finetune": training(steps=4, checkpoint_every=4),
    "baselines": ["shuffle3", "random"],
}


@pytest.fixture(scope="module", params=["retinanet", "fpn"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    recipe = write_recipe(folder / "recipe.yaml", request.param, **CHANGES)
    return pipeline.run(str(recipe), folder / "run", blocks)


def test_candidates_have_several_and_files_know_theirs(finished: Path, shell: Shell, blocks: Path) -> None:
    candidates = CANDIDATES.read(finished / "search")
    assert {Architecture.parse(one.architecture).resolution for one in candidates} <= set(SIDES)
    for name, weights in (
        ("winner", finished),
        *((name, finished / "finetune" / name) for name in ("shuffle3", "random")),
    ):
        evaluation = EVALUATION.read(finished / "finetune" / name)
        architecture = Architecture.parse(evaluation.architecture or "")
        detector, info = load_detector(weights / "detector.safetensors")
        assert info.settings.min_size == architecture.resolution == detector.transform.min_size[0]
        assert (info.architecture, info.space) == (Architecture(architecture.stages), info.space.backbones)
        assert info.settings.head == tuple(tuple(OPS[op] for op in tower) for tower in architecture.head)
        assert evaluation.macs == sum(part.macs for part in evaluation.parts.values())
        said = shell("evaluate", weights / "detector.safetensors", "--data", blocks)
        assert f"mAP    {evaluation.scores['mAP']:.4f}" in said
    assert Architecture.parse(EVALUATION.read(finished / "finetune" / "shuffle3").architecture or "").resolution == 48


def test_a_candidate_is_scored_alike_whatever_was_scored_before(finished: Path) -> None:
    with open_run(pipeline.load_run(finished), finished, None, QUIET) as run:
        candidates = [Architecture.parse(row.architecture) for row in CANDIDATES.read(finished / "search")]
        candidates += [replace(candidates[0], resolution=side) for side in SIDES]
        candidates += [replace(candidates[0], head=one.head) for one in candidates[1:3]]
        first, second = build_evaluator(run), build_evaluator(run)
        forward = {one: first(one) for one in candidates}
        assert {one: second(one) for one in reversed(candidates)} == forward
    stored = {row.architecture: row.fitness for row in CANDIDATES.read(finished / "search")}
    assert {name: forward[Architecture.parse(name)]["mAP"] for name in stored} == stored


def test_a_run_that_was_stopped_ends_in_the_same_bytes(blocks: Path, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path / "recipe.yaml", **CHANGES))
    pipeline.run(recipe, tmp_path / "whole", blocks)
    for stages in (("supernet-finetune",), ("search",), ()):
        pipeline.run(recipe, tmp_path / "cut", blocks, stages=stages)
    pipeline.run(recipe, tmp_path / "cut", blocks)
    whole, cut = snapshot(tmp_path / "whole"), snapshot(tmp_path / "cut")
    assert {name: content for name, (_, content) in whole.items()}["detector.safetensors"] == cut[
        "detector.safetensors"
    ][1]


@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
def test_a_candidate_is_the_network_that_was_built_with_its_head(detector: str) -> None:
    """With the supernet's weights; and the path that is active in the supernet computes the same."""
    recipe = small_recipe(detector, **CHANGES | {"detector__box_convs": 2} if detector == "fpn" else CHANGES)
    space, rng = recipe.search_space(), np.random.default_rng(0)
    torch.manual_seed(0)
    supernet = build_detector(Supernet(space), 3, recipe.detector, space.head).eval()
    images = [torch.rand(3, 60, 90)]
    with torch.no_grad():
        for _ in range(5):
            architecture = space.draw(rng)
            activate_path(supernet, architecture)
            set_resolution(supernet, recipe.detector.at(architecture.resolution))
            candidate = extract_subnet(supernet, architecture)
            built = build_detector(Subnet(space, architecture), 3, recipe.detector_of(architecture)).eval()
            built.load_state_dict(candidate.state_dict())  # strict: the same names and shapes
            outputs = [one(images)[0] for one in (supernet, candidate, built)]
            for name in ("boxes", "scores", "labels"):
                assert all(torch.equal(outputs[0][name], one[name]) for one in outputs[1:])


def test_sizes_in_pixels_grow_with_the_resolution() -> None:
    retinanet = RetinaNetSettings(min_size=256, max_size=384, anchor_sizes=(16, 32, 64, 128, 256))
    smaller = retinanet.at(192)
    assert (smaller.min_size, smaller.max_size, smaller.anchor_sizes) == (192, 288, (12, 24, 48, 96, 192))
    assert smaller.at(256) == retinanet and retinanet.at(None) is retinanet.at(256) is retinanet
    fpn = FPNSettings(min_size=400, max_size=600).at(800)
    assert (fpn.max_size, fpn.roi_canonical_size, fpn.anchor_sizes[0]) == (1200, 448, 64)
    assert fpn.fpn_channels == FPNSettings().fpn_channels


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"detector__min_size": 50}, "detector.min_size 50 is none of them; add it"),
        ({"budget__of": "backbone"}, "the cost of backbones is counted at budget.size, not at these"),
        ({"space": {"name": "tiny", "resolutions": [64, 48]}}, "must rise"),
        ({"space": {"name": "tiny", "head_ops": ["full", "full"]}}, "name each once"),
        ({"space": {"name": "tiny", "head_ops": ["skip"]}}, "not skip alone"),
        ({"detector__head": [["full"], ["skip"]]}, "detector.head is what space.head_ops leaves to choose"),
        (
            {"space": {"name": "tiny", "head_ops": ["full", "skip"]}, "budget__of": "backbone"},
            "backbones cost the same",
        ),
    ],
)
def test_resolutions_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe.model_validate(small_recipe(**CHANGES | changes).model_dump())
