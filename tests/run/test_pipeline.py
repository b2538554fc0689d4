"""The whole pipeline: what it leaves, what it refuses, what each stage sees, and that a killed run ends the same."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from small_recipe import COLORS, assert_same, checkpoint, small_recipe, write_blocks, write_recipe

import detnas.run.context as running
import detnas.run.networks as networks
import detnas.run.opening as opening
import detnas.run.pipeline as pipeline
import detnas.run.search_stage as search_stage
from detnas.cli.main import main
from detnas.config import DataSettings, recipe_names
from detnas.data.images import Images
from detnas.data.splits import open_data
from detnas.evaluation.evaluate import evaluate
from detnas.models.backbone import find_backbone
from detnas.models.detectors.build import Detector
from detnas.models.supernet import Supernet
from detnas.models.weights import load_detector
from detnas.report.collect import collect
from detnas.rundir.directory import claim
from detnas.search.evaluators.detection import DetectionEvaluator, evaluation_images
from detnas.spaces import BudgetSampler
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress
from detnas.utils.seeds import derive_seed

NETWORKS = ("winner", "shuffle3", "random")
CPU = torch.device("cpu")


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit status of `detnas WORDS`."""
    monkeypatch.setattr(sys, "argv", ["detnas", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }


def results(run: Path) -> dict[str, Any]:
    """All that a run finds out, without its times."""
    lines = [json.loads(line) for line in (run / "search" / "candidates.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
    best = json.loads((run / "search" / "best.json").read_text())
    best.pop("seconds")
    found: dict[str, Any] = {"tensors": load_file(run / "detector.safetensors"), "candidates": lines, "best": best}
    for name in NETWORKS:
        found[name] = json.loads((run / "finetune" / name / "evaluation.json").read_text())
        found[f"{name} detections"] = json.loads((run / "finetune" / name / "detections.json").read_text())
        found[f"{name} checkpoint"] = checkpoint(run / "finetune" / name)
    return found


# What a run leaves


def test_a_run_leaves_what_the_design_lists(finished: Path) -> None:
    trainings = ["supernet-pretrain", "supernet-finetune"]
    trainings += [f"{stage}/{network}" for stage in ("pretrain", "finetune") for network in NETWORKS]
    for training in trainings:
        files = {path.name for path in (finished / training).iterdir()}
        assert {"metrics.jsonl", "done.json"} <= files, training
        assert any(name.startswith("checkpoint-") for name in files), training
        assert any(name.startswith("events.out.tfevents") for name in files), training
    assert {path.name for path in (finished / "search").iterdir()} - {".lock", ".writing", ".checking"} == {
        "study.db",
        "recalibration.json",
        "best.json",
        "candidates.jsonl",
        "done.json",
    }
    assert {path.name for path in finished.iterdir()} - {".lock"} == {
        "recipe.yaml",
        "splits.json",
        "supernet-pretrain",
        "supernet-finetune",
        "search",
        "pretrain",
        "finetune",
        "detector.safetensors",
        "report.html",
    }
    assert len((finished / "search" / "candidates.jsonl").read_text().splitlines()) == 6


def test_the_weights_file_says_what_it_holds(finished: Path) -> None:
    _, info = load_detector(finished / "detector.safetensors")
    best = json.loads((finished / "search" / "best.json").read_text())
    assert str(info.architecture) == best["architecture"]
    assert info.categories == tuple((id, f"color {id}") for id in COLORS)
    assert info.settings == small_recipe(info.settings.type).detector
    with safe_open(finished / "detector.safetensors", "pt") as file:
        assert {"torch", "torchvision", "detnas"} <= json.loads(file.metadata()["versions"]).keys()
    trained = checkpoint(finished / "finetune" / "winner")["model"]
    assert_same(load_file(finished / "detector.safetensors"), dict(trained))


def test_the_weights_file_scores_what_the_run_says(finished: Path, blocks: Path) -> None:
    detector, _ = load_detector(finished / "detector.safetensors")
    val = open_data(blocks, DataSettings(), seed=0).val
    evaluation = evaluate(detector, val, Images(val.files, 10), batch_size=4, device=CPU)
    stored = json.loads((finished / "finetune" / "winner" / "evaluation.json").read_text())
    assert evaluation.scores == stored["scores"] and evaluation.per_class == stored["per_class"]
    assert evaluation.results == json.loads((finished / "finetune" / "winner" / "detections.json").read_text())


def test_category_ids_come_back_as_they_are(finished: Path) -> None:
    for name in NETWORKS:
        found = json.loads((finished / "finetune" / name / "detections.json").read_text())
        assert {row["category_id"] for row in found} <= set(COLORS)
        assert {row["image_id"] for row in found} == set(range(8))


def test_the_networks_are_the_recipes(finished: Path) -> None:
    evaluations = {
        name: json.loads((finished / "finetune" / name / "evaluation.json").read_text()) for name in NETWORKS
    }
    assert evaluations["shuffle3"]["architecture"] == "00 00 0000 00"
    assert (
        evaluations["winner"]["architecture"]
        == json.loads((finished / "search" / "best.json").read_text())["architecture"]
    )
    assert len({evaluation["architecture"] for evaluation in evaluations.values()}) == 3
    for evaluation in evaluations.values():
        assert (
            evaluation["images"] == 8
            and evaluation["macs"] > 0
            and set(evaluation["per_class"]) == {f"color {id}" for id in COLORS}
        )


def test_the_same_command_again_changes_nothing(
    finished: Path, blocks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(finished)
    monkeypatch.setattr(search_stage, "search", None)  # whoever trains or searches fails
    monkeypatch.setattr(running, "train", None)
    assert command(monkeypatch, "run", finished.parent / "recipe.yaml", "--out", finished, "--data", blocks) == 0
    after = snapshot(finished)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name][0] != before[name][0]} <= {"report.html", ".lock"}
    assert {name for name in after if after[name][1] != before[name][1]} <= {"report.html"}


def test_what_is_missing_is_made_again_and_nothing_else(finished: Path, blocks: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    before = snapshot(copy)
    (copy / "finetune" / "random" / "evaluation.json").unlink()
    (copy / "report.html").unlink()
    pipeline.run(str(finished.parent / "recipe.yaml"), copy, blocks)
    after = snapshot(copy)
    redone = {name for name in after if name not in before or before[name][0] != after[name][0]} - {".lock"}
    (events,) = redone - before.keys()
    assert events.startswith("finetune/random/events.out.tfevents")  # for the scores
    files = ("evaluation.json", "detections.json", "metrics.jsonl", "detector.safetensors")
    evaluated = {f"finetune/random/{name}" for name in files}
    assert redone == {"report.html", events} | evaluated
    assert after["finetune/random/metrics.jsonl"] != before["finetune/random/metrics.jsonl"]
    assert after["finetune/random/metrics.jsonl"][1] == before["finetune/random/metrics.jsonl"][1]
    assert_same(results(copy), results(finished))


def test_the_scores_stand_in_the_metrics(finished: Path) -> None:
    for name in NETWORKS:
        directory = finished / "finetune" / name
        scores = json.loads((directory / "evaluation.json").read_text())["scores"]
        rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        assert rows[-1] == {"step": 10, **scores} and rows[-2]["loss"] > 0
        (training,) = [t for t in collect(finished).trainings if (t.stage, t.network) == ("finetune", name)]
        assert training.curves["loss"].values == [rows[-2]["loss"]]


DAMAGED = {
    # What is damaged, and which stages are to be run again: the weights of the first are needed by the second.
    "supernet-pretrain": ("supernet-pretrain", "supernet-finetune"),
    "supernet-finetune": ("supernet-finetune", "search"),
    "pretrain/shuffle3": ("pretrain", "finetune"),
}


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_finished_training_with_a_damaged_checkpoint_is_finished_again(
    damaged: str, finished: Path, blocks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the checkpoint before it, to the same bytes, as long as its weights are needed; and never used as it is."""
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    last = max((copy / damaged).glob("checkpoint-*.pt"))
    whole = last.read_bytes()
    recipe = str(finished.parent / "recipe.yaml")
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2] ^= 1
    last.write_bytes(spoilt)
    pipeline.run(recipe, copy, blocks)
    assert last.read_bytes() == spoilt  # nobody needs it any more
    stage, next_stage = DAMAGED[damaged]
    if next_stage == "finetune":
        for name in ("evaluation.json", "done.json"):
            (copy / "finetune" / "shuffle3" / name).unlink()
        for path in (copy / "finetune" / "shuffle3").glob("checkpoint-*"):
            path.unlink()
    else:
        shutil.rmtree(copy / next_stage)
    with pytest.raises(UserError, match="damaged or missing"):
        pipeline.run(recipe, copy, blocks, stages=(next_stage,))
    if stage == "pretrain":  # whose only checkpoint this is
        with pytest.raises(UserError, match="none is whole; remove this folder"):
            pipeline.run(recipe, copy, blocks, stages=(stage, next_stage))
        shutil.rmtree(copy / damaged)
    pipeline.run(recipe, copy, blocks, stages=(stage, next_stage), progress=Progress())
    said = capsys.readouterr().out
    assert (f"{last.name} is damaged; continuing from step 10" in said) == (stage != "pretrain")
    assert last.read_bytes() == whole
    assert_same(results(copy), results(finished))


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
def test_two_runs_of_one_recipe_give_the_same_bytes(finished: Path, blocks: Path, tmp_path: Path) -> None:
    torch.manual_seed(77)
    pipeline.run(str(finished.parent / "recipe.yaml"), tmp_path / "run", blocks)
    assert_same(results(tmp_path / "run"), results(finished))
    assert (tmp_path / "run/detector.safetensors").read_bytes() == (finished / "detector.safetensors").read_bytes()


@pytest.mark.parametrize(("source", "detector"), [("folder", "fpn"), ("none", "fpn"), ("none", "retinanet")])
def test_other_sources_of_pre_training(source: str, detector: str, blocks: Path, tmp_path: Path) -> None:
    changes = {"pretraining__source": source, "baselines": ["shuffle3"], "search__evaluations": 2}
    changes |= {"pretraining__folder": "classes"} if source == "folder" else {}
    recipe = small_recipe(detector, **changes, supernet_finetune__steps=10)
    run = pipeline.run(recipe, tmp_path / "run", blocks)
    made = {path.name for path in run.iterdir()}
    assert {"detector.safetensors", "report.html"} <= made
    assert (source == "none") == (not made & {"supernet-pretrain", "pretrain"})
    if source == "folder":
        assert checkpoint(run / "supernet-pretrain")["model"]["head.6.bias"].shape == (3,)  # no background
        # The detector begins with what was learned there.
        learned = checkpoint(run / "pretrain" / "winner")["model"]["backbone.stem.0.weight"]
        detector_stem = checkpoint(run / "finetune" / "winner")["model"]["backbone.body.stem.0.weight"]
        assert 0 < (learned - detector_stem).abs().max() < 0.05


def test_the_embedded_data_set_is_drawn_into_the_run(tmp_path: Path) -> None:
    recipe = small_recipe(pretraining__source="folder", pretraining__folder="classification/train")
    pipeline.run(recipe, tmp_path / "run", stages=("supernet-pretrain",))
    assert {"train.json", "val.json", "classification"} <= {path.name for path in (tmp_path / "run/data").iterdir()}
    drawn = snapshot(tmp_path / "run/data")
    pipeline.run(recipe, tmp_path / "run", stages=("supernet-pretrain",))
    assert snapshot(tmp_path / "run/data") == drawn


# What each stage sees


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


# What is refused, before any training


def edit(split: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def edited(folder: Path) -> None:
        tree = json.loads((folder / f"{split}.json").read_text())
        change(tree)
        (folder / f"{split}.json").write_text(json.dumps(tree))

    return edited


BAD_BOXES = {
    "outside": edit("train", lambda tree: tree["annotations"][3].update(bbox=[40, 40, 30, 5])),
    "without area": edit("train", lambda tree: tree["annotations"][3].update(bbox=[4, 4, 0, 5])),
    "in the validation set": edit("val", lambda tree: tree["annotations"][2].update(bbox=[-9, 4, 20, 5])),
}


def make_long(folder: Path) -> None:
    edit("train", lambda tree: tree["images"][3].update(height=4800))(folder)
    Image.new("RGB", (48, 4800)).save(folder / "train/train3.png")


BAD_DATA: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no folder": (shutil.rmtree, ["no such folder"]),
    "empty": (lambda folder: (shutil.rmtree(folder), folder.mkdir()), ["is empty", "train.json"]),
    "not JSON": (lambda folder: (folder / "train.json").write_text("{"), ["train.json", "not JSON"]),
    "a list": (lambda folder: (folder / "train.json").write_text("[1]"), ["train.json", "not COCO"]),
    "no images": (edit("train", lambda tree: tree.pop("images")), ["train.json", "not COCO", "images"]),
    "an image is missing": (lambda folder: (folder / "train/train3.png").unlink(), ["1 images", "train3.png"]),
    "an image of val is missing": (lambda folder: (folder / "val/val2.png").unlink(), ["val.json", "val2.png"]),
    "an image of val is cut short": (
        lambda folder: (folder / "val/val2.png").write_bytes((folder / "val/val2.png").read_bytes()[:-60]),
        ["val.json", "1 files that are no images, or damaged", "val2.png"],
    ),
    "an image is too long": (make_long, ["train3.png", "48x4800 pixels", "detector.max_size = 64"]),
    "an undefined category": (
        edit("train", lambda tree: [a.update(category_id=8) for a in tree["annotations"][3:5]]),
        ["2 annotations", "category_id 8", "0, 7, 90"],
    ),
    "a box outside": (BAD_BOXES["outside"], ["1 boxes outside", "[40, 40, 30, 5]", "data.bad_boxes=drop"]),
    "a box without area": (BAD_BOXES["without area"], ["1 boxes without area", "data.bad_boxes=drop"]),
    "a bad box in val": (BAD_BOXES["in the validation set"], ["val.json", "data.bad_boxes=drop"]),
    "other categories in val": (
        edit("val", lambda tree: tree["categories"][1].update(name="x")),
        ["categories differ"],
    ),
}


def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    """The one line of a command that must be refused without a training."""
    monkeypatch.setattr(running, "train", None)
    capsys.readouterr()
    assert command(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("detnas: ") and error.count("\n") == 1 and error.endswith("\n"), error
    return error


@pytest.mark.parametrize("flaw", BAD_DATA)
def test_bad_data_are_refused(
    flaw: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words = BAD_DATA[flaw]
    folder = write_blocks(tmp_path / "data")
    spoil(folder)
    recipe = write_recipe(tmp_path / "recipe.yaml")
    error = refusal(capsys, monkeypatch, "run", recipe, "--out", tmp_path / "run", "--data", folder)
    assert all(word in error for word in words), error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flaw", BAD_BOXES)
def test_bad_boxes_are_dropped_when_the_recipe_says_so(flaw: str, tmp_path: Path) -> None:
    folder = write_blocks(tmp_path / "data")
    whole = open_data(folder, DataSettings(), 0)
    BAD_BOXES[flaw](folder)
    recipe = write_recipe(tmp_path / "recipe.yaml")
    pipeline.run(str(recipe), tmp_path / "run", folder, ["data.bad_boxes=drop"], stages=())
    assert (tmp_path / "run" / "recipe.yaml").exists()
    cut = open_data(folder, DataSettings(bad_boxes="drop"), 0)
    assert len(cut.train.boxes) + len(cut.val.boxes) == len(whole.train.boxes) + len(whole.val.boxes) - 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("search.populaton=4", ["search.populaton", "search.population"]),
        ("detector.fpn_chanels=8", ["detector.fpn_chanels", "detector.fpn_channels"]),
        ("budget.macs_max=1", ["budget.macs", "there are"]),
        ("budget.macs_min=90G", ["budget.macs", "there are"]),
        ("budget.params_max=10", ["budget.params", "there are"]),
        ("budget.latency_max=10", ["budget", "latency_max 10", "budget.latencies"]),
        ("budget.latencies=missing.json", ["budget.latencies", "missing.json", "no such file"]),
        ("supernet_pretrain.macs_bins=[1, 2M]", ["supernet_pretrain.macs_bins", "1 to 1,999,999", "there are"]),
        ("supernet_finetune.macs_bins=[0, 1G, 2G]", ["supernet_finetune.macs_bins", "1,000,000,000", "there are"]),
        ("space.name=tny", ["tny", "tiny"]),
        ("data.train=missing.json", ["missing.json", "cannot be read"]),
        ("data.search_images=24", ["data.search_images = 24", "24 training images", "at most 23"]),
        ("pretraining.source=folder", ["pretraining.folder"]),
        ("detector.type=yolo", ["yolo", "retinanet"]),
        ("search.evaluations=0", ["search.evaluations", "0"]),
        ("seed=-1", ["seed", "-1"]),
    ],
)
def test_bad_recipes_are_refused(
    change: str,
    words: list[str],
    blocks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml")
    options = ("--out", tmp_path / "run", "--data", blocks, "--set", change)
    error = refusal(capsys, monkeypatch, "run", recipe, *options)
    assert all(word in error for word in words), error
    assert not (tmp_path / "run").exists()


def test_a_missing_classification_folder_is_refused(
    blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", pretraining__source="folder", pretraining__folder="nowhere")
    error = refusal(capsys, monkeypatch, "run", recipe, "--out", tmp_path / "run", "--data", blocks)
    assert "pretraining.folder" in error and "nowhere" in error and not (tmp_path / "run").exists()


def test_a_search_on_images_without_boxes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_blocks(tmp_path / "data")
    recipe = small_recipe(search__images=1)
    split = open_data(folder, recipe.data, recipe.seed).search
    chosen = evaluation_images(split, recipe.search, derive_seed(recipe.seed, "search")).image_ids[0]
    edit("train", lambda tree: tree.update(annotations=[a for a in tree["annotations"] if a["image_id"] != chosen]))(
        folder
    )
    file = write_recipe(tmp_path / "recipe.yaml", search__images=1)
    error = refusal(capsys, monkeypatch, "run", file, "--out", tmp_path / "run", "--data", folder)
    assert "search.images = 1" in error and not (tmp_path / "run").exists()


def test_a_recipe_without_shapes_needs_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", data__shapes=None)
    error = refusal(capsys, monkeypatch, "run", recipe, "--out", tmp_path / "run")
    assert "--data" in error and not (tmp_path / "run").exists()


def test_an_unknown_recipe_is_refused_with_the_nearest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(capsys, monkeypatch, "run", "shape-quick", "--out", tmp_path / "run")
    assert "shapes-quick" in error and "shapes-quick" in recipe_names()


def test_unknown_stages_and_changes_to_what_is_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'serch' is unknown; did you mean search\?"):
        pipeline.run(small_recipe(), tmp_path / "run", stages=("serch",))
    with pytest.raises(UserError, match=r"search\.population=4"):
        pipeline.run(small_recipe(), tmp_path / "run", changes=("search.population=4",))
    assert not (tmp_path / "run").exists()


def test_another_recipes_run_is_left_alone(
    finished: Path, blocks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(finished)
    words = ("run", finished.parent / "recipe.yaml", "--out", finished, "--data", blocks)
    error = refusal(capsys, monkeypatch, *words, "--set", "search.population=4")
    assert "search.population" in error and "3" in error and "4" in error and str(finished) in error
    assert snapshot(finished) == before


def test_other_data_than_a_run_was_begun_with_are_refused(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(finished)
    other = write_blocks(tmp_path / "other", train=25)
    words = ("run", finished.parent / "recipe.yaml", "--out", finished, "--data", other)
    assert "data set has changed" in refusal(capsys, monkeypatch, *words)
    assert {name: file[1] for name, file in snapshot(finished).items()} == {k: v[1] for k, v in before.items()}


@pytest.mark.parametrize("what", ["other things", "a file"])
def test_an_output_folder_that_holds_other_things_is_left_alone(
    what: str, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    if what == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
    recipe = write_recipe(tmp_path / "recipe.yaml")
    error = refusal(capsys, monkeypatch, "run", recipe, "--out", out, "--data", blocks)
    assert "--out" in error and str(out) in error
    assert out.read_text() == "mine" if what == "a file" else [p.name for p in out.iterdir()] == ["thesis.tex"]


def test_a_second_process_is_refused(
    finished: Path, blocks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", finished.parent / "recipe.yaml", "--out", finished, "--data", blocks)
    with claim(finished):
        assert "another process" in refusal(capsys, monkeypatch, *words)
    assert command(monkeypatch, *words) == 0


def test_the_first_field_that_differs_is_named(blocks: Path, tmp_path: Path) -> None:
    run = pipeline.run(small_recipe(), tmp_path / "run", blocks, stages=())
    with pytest.raises(UserError, match=r"search.metric: 'mAP' there, 'VOC' here"):
        pipeline.run(small_recipe(search__metric="VOC"), run, blocks, stages=())
    stored = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(stored | {"seed": "long"}))
    with pytest.raises(UserError, match=r"seed: 'long' there, 3 here"):
        pipeline.run(small_recipe(), run, blocks, stages=())


def test_the_images_of_the_splits_are_written_down(blocks: Path, tmp_path: Path) -> None:
    whole = pipeline.run(small_recipe(data__search_images=4), tmp_path / "whole", blocks, stages=())
    splits = json.loads((whole / "splits.json").read_text())
    data = open_data(blocks, DataSettings(search_images=4), small_recipe().seed)
    assert splits.keys() == {"search"} and [row["id"] for row in splits["search"]] == list(data.search.image_ids)
    assert [blocks / row["file"] for row in splits["search"]] == list(data.search.files)
    folder = write_blocks(tmp_path / "data", val=0)
    cut = pipeline.run(small_recipe(data__search_images=4), tmp_path / "cut", folder, stages=())
    splits = json.loads((cut / "splits.json").read_text())
    assert len(splits["search"]) == 4 and len(splits["val"]) == 5
    assert not {row["file"] for row in splits["search"]} & {row["file"] for row in splits["val"]}


def test_a_run_that_was_refused_can_be_given_again(blocks: Path, tmp_path: Path) -> None:
    recipe = small_recipe()
    with pytest.raises(UserError):
        pipeline.run(recipe, tmp_path / "run", tmp_path / "missing")
    pipeline.run(recipe, tmp_path / "run", blocks, stages=())
    assert (tmp_path / "run" / "recipe.yaml").exists()


# Killed

KILLED = """
import os, random, signal, sys
import sqlalchemy
import torch
import detnas.cli.main, detnas.run.pipeline, detnas.report
import optuna

torch.set_num_threads(1)
words, chance = sys.argv[2:], random.Random(int(sys.argv[1]))


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def fast(connection, record):
    connection.execute("PRAGMA synchronous=OFF")


def attempt(countdown):
    # Dies at the given one of the moments at which something is about to be, or has just been, made to last.
    def dying(work):
        def moment():
            nonlocal countdown
            countdown -= 1
            if countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def inside(*args, **names):
            moment()
            result = work(*args, **names)
            moment()
            return result

        return inside

    os.replace = dying(os.replace)
    os.rename = dying(os.rename)
    optuna.Study.ask = dying(optuna.Study.ask)
    optuna.Study.tell = dying(optuna.Study.tell)
    sys.argv = ["detnas", *words]
    detnas.cli.main.main()


kills = 0
while kills < 200:
    countdown = chance.randint(2, 12)
    child = os.fork()
    if child == 0:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        attempt(countdown)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        kills += 1
        continue
    print("kills", kills)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("detector", "data"), [("retinanet", "folder"), ("fpn", "shapes")])
def test_a_run_killed_again_and_again_ends_the_same(detector: str, data: str, blocks: Path, tmp_path: Path) -> None:
    changes = (
        {} if data == "folder" else {"pretraining__source": "folder", "pretraining__folder": "classification/train"}
    )
    recipe = write_recipe(tmp_path / "recipe.yaml", detector, **changes)
    words = ["--data", str(blocks)] if data == "folder" else []
    process = subprocess.run(
        [sys.executable, "-c", KILLED, "1", "run", str(recipe), "--out", str(tmp_path / "killed"), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    kills = int(process.stdout.split()[-1])
    assert kills >= 8
    pipeline.run(str(recipe), tmp_path / "whole", blocks if data == "folder" else None)
    assert_same(results(tmp_path / "killed"), results(tmp_path / "whole"))
    assert (tmp_path / "killed/report.html").exists()
    for path in (tmp_path / "whole").rglob("metrics.jsonl"):
        other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        assert [row["step"] for row in map(json.loads, other.read_text().splitlines())] == [
            row["step"] for row in map(json.loads, path.read_text().splitlines())
        ]


def test_a_run_killed_while_the_data_set_is_drawn_goes_on(tmp_path: Path) -> None:
    """What a killed process left of its drawing, or of writing recipe.yaml, is in nobody's way."""
    run = tmp_path / "run"
    (run / ".data-abc123" / "shapes" / "train").mkdir(parents=True)
    (run / ".recipe.yaml.77.tmp").write_text("name: sm")
    pipeline.run(small_recipe(), run, stages=())
    assert (run / "recipe.yaml").exists() and (run / "data" / "train.json").exists()


def test_shapes_that_a_cut_run_drew_for_another_recipe_are_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(opening, "store_recipe", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pipeline.run(small_recipe(), run, stages=())
    pipeline.run(small_recipe(data__shapes__train=30), run, stages=())
    assert len(json.loads((run / "data/train.json").read_text())["images"]) == 30


def test_progress_is_said_on_plain_lines(blocks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small_recipe(supernet_pretrain__steps=10)
    pipeline.run(recipe, tmp_path / "run", blocks, progress=Progress(), stages=("supernet-pretrain",))
    said = capsys.readouterr().out
    assert "18 to train on, 6 search split, 8 validation; 3 categories" in said
    assert "[1/6] supernet-pretrain" in said and "10/10, loss" in said and "\x1b" not in said


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
