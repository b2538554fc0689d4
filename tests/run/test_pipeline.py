"""A whole run: what it leaves, and what it says."""

import json
from pathlib import Path

import pytest
import torch
from run_results import NETWORKS, snapshot
from safetensors import safe_open
from safetensors.torch import load_file
from small_recipe import COLORS, assert_same, checkpoint, small_recipe, write_blocks

import detnas.run.pipeline as pipeline
from detnas.config import DataSettings
from detnas.data.images import Images
from detnas.data.splits import open_data
from detnas.evaluation.evaluate import evaluate
from detnas.models.weights import load_detector
from detnas.report.collect import collect
from detnas.utils.progress import Progress

CPU = torch.device("cpu")


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
    assert {path.name for path in finished.iterdir() if not path.name.endswith(".lock")} == {
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


def test_the_scores_stand_in_the_metrics(finished: Path) -> None:
    for name in NETWORKS:
        directory = finished / "finetune" / name
        scores = json.loads((directory / "evaluation.json").read_text())["scores"]
        rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        assert rows[-1] == {"step": 10, **scores} and rows[-2]["loss"] > 0
        (training,) = [t for t in collect(finished).trainings if (t.stage, t.network) == ("finetune", name)]
        assert training.curves["loss"].values == [rows[-2]["loss"]]


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


def test_progress_is_said_on_plain_lines(blocks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small_recipe(supernet_pretrain__steps=10)
    pipeline.run(recipe, tmp_path / "run", blocks, progress=Progress(), stages=("supernet-pretrain",))
    said = capsys.readouterr().out
    assert "18 to train on, 6 search split, 8 validation; 3 categories" in said
    assert "[1/7] supernet-pretrain" in said and "10/10, loss" in said and "\x1b" not in said


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
