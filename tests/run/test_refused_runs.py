"""What is refused before any training starts, and what a refusal leaves alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from run_results import command, snapshot
from small_recipe import small_recipe, write_blocks, write_recipe

import detnas.run.checks as checks
import detnas.run.context as running
import detnas.run.pipeline as pipeline
from detnas.config import DataSettings, recipe_names
from detnas.data.splits import open_data
from detnas.rundir.directory import claim
from detnas.search.evaluators.detection import evaluation_images
from detnas.utils.errors import UserError
from detnas.utils.seeds import derive_seed


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


def test_a_supernet_beyond_the_memory_is_refused(blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe()
    table = recipe.search_space().cost_table()
    params = sum(sum(costs.values()) for costs in table.of("params"))
    needed = 2 * 3 * 4 * params  # weights and AdamW's two values a parameter, and the same in a checkpoint
    for available, refused in ((needed - 1, True), (needed, False), (None, False)):
        monkeypatch.setattr(checks, "available_memory", lambda available=available: available)
        if refused:
            with pytest.raises(UserError, match=r"space tiny-x0\.25: training its supernet takes .* GB are available"):
                pipeline.run(recipe, tmp_path / "run", blocks, stages=())
            assert not (tmp_path / "run").exists()
        else:
            pipeline.run(recipe, tmp_path / "run", blocks, stages=())


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
    (run / "recipe.yaml").write_text(yaml.safe_dump(stored | {"seed": 5}))
    with pytest.raises(UserError, match=r"seed: 5 there, 3 here"):
        pipeline.run(small_recipe(), run, blocks, stages=())


def test_a_run_that_was_refused_can_be_given_again(blocks: Path, tmp_path: Path) -> None:
    recipe = small_recipe()
    with pytest.raises(UserError):
        pipeline.run(recipe, tmp_path / "run", tmp_path / "missing")
    pipeline.run(recipe, tmp_path / "run", blocks, stages=())
    assert (tmp_path / "run" / "recipe.yaml").exists()
