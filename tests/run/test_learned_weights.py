"""Runs whose supernet begins with learned weights: an earlier run's, a weights file's, the official code's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from shell import Shell
from small_recipe import assert_learned, assert_same, small_recipe, write_recipe
from torch import Tensor

from detnas.config import OFFICIAL_INPUT
from detnas.models.backbone import find_backbone
from detnas.models.official_names import backbone_names
from detnas.models.weights import BackboneInfo, load_weights, save_backbone
from detnas.run.opening import open_run
from detnas.run.pipeline import run, search_run
from detnas.run.publishing import export_supernet
from detnas.run.retraining import retrain
from detnas.run.weights import read_supernet
from detnas.rundir.layout import PRETRAINED
from detnas.spaces import Architecture, search_space
from detnas.training.checkpoints import finished_weights
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

QUIET = Progress(quiet=True)
SHORT: dict[str, Any] = dict.fromkeys(
    [f"{part}__steps" for part in ("supernet_pretrain", "supernet_finetune", "pretrain", "finetune")], 3
)
SHORT |= {"search__evaluations": 3, "search__population": 2, "baselines": ["shuffle3"]}
SHORT |= {f"detector__{name}": value for name, value in OFFICIAL_INPUT.model_dump(mode="json").items()}


PAPER = SHORT | {"pretraining__source": "folder", "pretraining__folder": "classes"}
"""As the recipes of the paper: every network learns to classify the images of a folder first."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    """A run of which the supernet is pre-trained."""
    folder = tmp_path_factory.mktemp("earlier") / "run"
    return run(small_recipe("fpn", **PAPER), folder, blocks, stages=("supernet-pretrain",))


@pytest.fixture
def supernet(earlier: Path) -> dict[str, Tensor]:
    """Its tensors."""
    return finished_weights(earlier / "supernet-pretrain", "backbone")


def write_official(earlier: Path, file: Path) -> None:
    """The supernet of a run, as the official code keeps it."""
    supernet = read_supernet(earlier, "supernet-pretrain").supernet
    modules, named = backbone_names(supernet).modules, {}
    for key, tensor in supernet.state_dict().items():
        module, _, last = key.rpartition(".")
        named[f"module.{modules[module]}.{last}"] = tensor
    torch.save({"state_dict": named}, file)


def where(kind: str, earlier: Path, folder: Path) -> Path:
    if kind == "run":
        return earlier
    file = folder / f"supernet.{'safetensors' if kind == 'file' else 'pth'}"
    if kind == "file":
        list(export_supernet(earlier, "supernet-pretrain", file))
    else:
        write_official(earlier, file)
    return file


@pytest.mark.parametrize("kind", ["run", "file", "official"])
@pytest.mark.parametrize("source", ["folder", "weights"])
def test_a_supernet_begins_with_the_weights_of_another_detector_s_run(
    kind: str, source: str, earlier: Path, supernet: dict[str, Tensor], blocks: Path, tmp_path: Path
) -> None:
    weights = str(where(kind, earlier, tmp_path))
    recipe = small_recipe("retinanet", **PAPER | {"pretraining__source": source, "pretraining__weights": weights})
    with open_run(recipe, tmp_path / "run", blocks, QUIET) as current:
        detector = current.detector(current.supernet)
        current.begin_supernet(detector)
        assert_same(dict(find_backbone(detector).state_dict()), supernet)
        network = current.subnet(current.space.uniform("shuffle5"))
        assert current.shuffle == ("interleave" if kind == "official" else "even_odd")
        assert network.shuffle == (current.shuffle if source == "weights" else "even_odd")
        if source == "weights":
            detector = current.detector(lambda: network)
            current.begin_network("winner", detector)
            of_supernet = read_supernet(earlier).supernet.subnet(network.architecture)
            assert_learned(network.state_dict(), of_supernet.state_dict())


def test_the_paper_s_networks_share_one_pre_training(earlier: Path, blocks: Path, tmp_path: Path, shell: Shell) -> None:
    file = write_recipe(tmp_path / "recipe.yaml", "retinanet", **PAPER)
    out = tmp_path / "run"
    said = shell("run", file, "--out", out, "--data", blocks, "--set", f"pretraining.weights={earlier}")
    record = PRETRAINED.read(out)
    assert record.where == str(earlier / "supernet-pretrain") and not (out / "supernet-pretrain").exists()
    told = f"The supernet begins with learned weights: {record.where} (SHA-256 {record.sha256[:12]}…)."
    assert told in said and told in shell("status", out) and told in (out / "report.html").read_text()
    for name in ("winner", "shuffle3"):  # from scratch, as in the paper
        assert json.loads((out / "pretrain" / name / "done.json").read_text())["steps"] == 3
    before = {path: path.stat().st_mtime_ns for path in out.rglob("checkpoint-*")}
    shell("run", file, "--out", out, "--data", blocks, "--set", f"pretraining.weights={earlier}")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("checkpoint-*")} == before


def test_what_holds_no_supernet_is_refused_before_anything_is_written(blocks: Path, tmp_path: Path) -> None:
    begun = run(small_recipe("fpn", **SHORT, pretraining__source="none"), tmp_path / "begun", blocks, stages=())
    space = search_space("tiny", 0.25)
    info = BackboneInfo(space, space.uniform("shuffle3"), OFFICIAL_INPUT)
    save_backbone(tmp_path / "single.safetensors", info.build(), info)
    (tmp_path / "text.pth").write_text("weights")
    for where, said in (
        (tmp_path / "single.safetensors", r"single\.safetensors: holds a single network; name efficientnet-lite0, the"),
        (tmp_path / "none", r"pretraining\.weights .*none: cannot be read .No such file or directory"),
        (tmp_path / "text.pth", r"text\.pth: no PyTorch checkpoint"),
        (begun, r"pretraining\.weights .*begun/supernet-finetune: this training is not done; `detnas run`"),
        ("efficientnet-lite0", "efficientnet-lite0: fits spaces of family efficientnet-lite only"),
    ):
        recipe = small_recipe("retinanet", **PAPER, pretraining__weights=str(where))
        with pytest.raises(UserError, match=said) as caught:
            run(recipe, tmp_path / "run", blocks)
        assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_only_trainings_that_begin_need_the_weights(earlier: Path, blocks: Path, tmp_path: Path) -> None:
    file = tmp_path / "supernet.safetensors"
    list(export_supernet(earlier, "supernet-pretrain", file))
    recipe = small_recipe(**SHORT, pretraining__source="weights", pretraining__weights=str(file))
    out = run(recipe, tmp_path / "run", blocks, stages=("supernet-finetune",))
    file.rename(tmp_path / "moved")
    search_run(out, QUIET, join=True)  # as a worker on a machine that does not have them
    with pytest.raises(UserError, match="No such file or directory"):
        run(recipe, out, blocks)
    (tmp_path / "moved").rename(file)
    run(recipe, out, blocks)
    file.write_bytes(b"other weights")
    run(recipe, out, blocks)
    model, info = read_supernet(earlier).supernet, BackboneInfo(search_space("tiny", 0.25), None, OFFICIAL_INPUT)
    torch.nn.init.zeros_(next(model.parameters()))
    save_backbone(file, model, info)
    with pytest.raises(UserError, match="its supernet began with other weights than"):
        retrain(out, [Architecture.parse("33 33 3333 33")], QUIET)


@pytest.mark.parametrize("stage", ["supernet-pretrain", "supernet-finetune"])
def test_a_supernet_is_published_as_one_file(
    stage: str, earlier: Path, blocks: Path, tmp_path: Path, shell: Shell
) -> None:
    directory = tmp_path / "earlier"
    shutil.copytree(earlier, directory)
    if stage == "supernet-finetune":
        assert f"{stage}: this training is not done" in shell.refused("export", directory, "--what", stage)
        run(small_recipe("fpn", **PAPER), directory, blocks, stages=("supernet-finetune",))
    said = shell("export", directory, "--what", stage)
    file = directory / f"{stage}.safetensors"
    assert said.splitlines() == [
        f"{file}: the supernet of space tiny-x0.25, as {stage} left it",
        f"  to begin another run with it: --set pretraining.weights={file}",
    ]
    model, info = load_weights(file)
    part = "backbone" if stage == "supernet-pretrain" else "backbone.body"
    assert_same(dict(model.state_dict()), finished_weights(directory / stage, part))
    assert info.architecture is None and info.preprocessing == OFFICIAL_INPUT
    shell("export", directory, "--what", stage, "--out", tmp_path / "other.safetensors")
    assert (tmp_path / "other.safetensors").read_bytes() == file.read_bytes()


def test_what_cannot_be_published_is_refused(earlier: Path, blocks: Path, tmp_path: Path, shell: Shell) -> None:
    run(small_recipe(**SHORT, pretraining__source="none"), tmp_path / "run", blocks, stages=())
    stage = "supernet-pretrain"
    for words, said in (
        ((earlier, "--what", "supernet"), "--what supernet: unknown; choose supernet-pretrain or supernet-finetune"),
        ((tmp_path, "--what", stage), "holds no run"),
        ((tmp_path / "none", "--what", stage), "holds no run"),
        ((tmp_path / "run", "--what", stage), f"{stage} is not part of this run; choose supernet-finetune"),
        ((earlier, "--what", stage, "--out", tmp_path), "is a folder; name a file"),
        ((earlier, "--what", stage, "--format", "py"), "leave out the others"),
        ((earlier, "--what", stage, "--check", tmp_path), "leave out the others"),
    ):
        assert said in shell.refused("export", *words)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
