"""`inherit: true`: networks that begin their training on detection with the weights of the fine-tuned supernet."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from run_results import results
from shell import Shell
from small_recipe import assert_same, small_recipe, training, write_recipe

from detnas.models.backbone import Subnet
from detnas.run.context import Run
from detnas.run.opening import open_run
from detnas.run.pipeline import run
from detnas.run.ranking import rank
from detnas.run.status import read_status
from detnas.rundir.layout import RANK
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.utils.progress import Progress

QUIET = Progress(quiet=True)
CHANGES = {"inherit": True, "finetune": training(steps=10, checkpoint_every=5)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    """A finished run; its recipe lies beside it."""
    folder = tmp_path_factory.mktemp("inherit")
    return run(str(write_recipe(folder / "recipe.yaml", "fpn", **CHANGES)), folder / "run", blocks)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def assert_begins_with_the_supernet(current: Run, name: str, network: Subnet) -> None:
    detector = current.detector(lambda: network)
    current.begin_network(name, detector)
    evaluator = DetectionEvaluator.from_run(current)
    judged = evaluator.extract_candidate(network.architecture, evaluator.calibration)
    assert_same(dict(detector.state_dict()), dict(judged.state_dict()))
    assert not current.is_done(f"pretrain/{name}")


def test_the_winner_and_the_baselines_begin_with_the_weights_of_the_supernet(whole: Path, blocks: Path) -> None:
    with open_run(small_recipe("fpn", **CHANGES), whole, blocks, QUIET) as current:
        for name, make_network in current.networks().items():
            network = make_network()
            assert isinstance(network, Subnet)
            assert_begins_with_the_supernet(current, name, network)
    assert {path.name for path in whole.iterdir() if path.is_dir()} == {
        "supernet-pretrain", "supernet-finetune", "search", "finetune"
    }  # fmt: skip


def test_nothing_says_that_a_pre_training_is_still_to_come(whole: Path, shell: Shell) -> None:
    status = read_status(whole)
    assert status.is_finished and not [one for one in status.stages if one.name.startswith("pretrain/")]
    told = "The networks of the search space begin with the weights of the fine-tuned supernet."
    assert told in shell("status", whole)
    page = (whole / "report.html").read_text()
    assert told in page and "Pre-training of the networks: winner" in page and "not part of this run" in page
    profile = shell("profile", whole.parent / "recipe.yaml")
    assert re.search(r"^  pretrain +0 s$", profile, re.MULTILINE)
    assert not re.search(r"^  (supernet-pretrain|finetune) +0 s$", profile, re.MULTILINE)


def test_other_networks_of_the_run_inherit_too(copy: Path, blocks: Path, shell: Shell) -> None:
    shell("retrain", copy, "13 20 0123 31")
    rank(copy, 3, QUIET)
    assert not (copy / "pretrain").exists() and {path.name for path in (copy / RANK).iterdir()} >= {"finetune"}
    assert not (copy / RANK / "pretrain").exists()
    with open_run(small_recipe("fpn", **CHANGES), copy, blocks, QUIET, hold="shared") as current:
        of_rank = replace(current, directory=copy / RANK, origin=copy)
        network = of_rank.subnet(current.space.uniform("shuffle7"))
        assert_begins_with_the_supernet(of_rank, network.architecture.hyphenated, network)


def test_a_run_that_was_cut_ends_the_same(whole: Path, copy: Path, blocks: Path) -> None:
    """Also if the checkpoints of the supernet were deleted after the search: it is trained again for those that are
    still to inherit."""
    for name in ("done.json", "evaluation.json", "checkpoint-00000010.pt"):
        (copy / "finetune" / "winner" / name).unlink()
    shutil.rmtree(copy / "finetune" / "random")
    for path in (copy / "supernet-finetune").glob("checkpoint-*"):
        path.unlink()
    run(str(whole.parent / "recipe.yaml"), copy, blocks)
    assert_same(results(copy), results(whole))
    assert list((copy / "supernet-finetune").glob("checkpoint-*"))
    for path in (copy / "supernet-finetune").glob("checkpoint-*"):
        path.unlink()
    run(str(whole.parent / "recipe.yaml"), copy, blocks)
    assert not list((copy / "supernet-finetune").glob("checkpoint-*"))  # nobody is left to need it
