"""The commands, as a person gives them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import official_reference
import pytest
import torch
from PIL import Image
from shell import Shell
from small_recipe import COLORS, small_recipe, write_blocks, write_recipe

import detnas
from detnas.config import load_recipe, recipe_names
from detnas.data.shapes.write import CLASSES
from detnas.models.official_names import backbone_names
from detnas.models.weights import load_detector
from detnas.run.pipeline import run
from detnas.rundir.directory import claim
from detnas.spaces import BudgetSampler, SearchSpace
from detnas.spaces.published import NAMES, PUBLISHED, PublishedNetwork
from detnas.spaces.space import SPACES

HEAVY = {
    *("torch", "torchvision", "numpy", "PIL", "optuna", "sqlalchemy", "plotly", "jinja2", "yaml", "rich"),
    *("safetensors", "tensorboard", "hotcoco"),
}
"""What detnas is built with, but for typer, and for pydantic, which typer itself imports to read options."""


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    shutil.copytree(finished, tmp_path / "copied")
    return tmp_path / "copied"


def process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", *words], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


@pytest.mark.parametrize("words", ["--help", "run --help", "--version", "data --help"])
def test_help_imports_nothing_heavy(words: str) -> None:
    script = f"""
import sys
sys.argv = ["detnas", *{words.split()!r}]
from detnas.cli.main import main
try:
    main()
except SystemExit as end:
    heavy = {HEAVY!r} & set(sys.modules)
    assert not end.code and not heavy, (end.code, heavy)
"""
    done = process(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_help_says_in_a_line_what_each_command_does(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a command's text it takes the first sentence, and cuts what has no room."""
    monkeypatch.setenv("COLUMNS", "80")
    for words in ("--help", "data --help"):
        _, commands = shell(*words.split()).split("Commands:\n")
        assert all(line.endswith(".") and not line.endswith("...") for line in commands.splitlines()), commands


def test_a_shell_completes_commands_and_recipes() -> None:
    script = """
        eval "$(detnas --show-completion)"
        for COMP_LINE in "detnas pro" "detnas run shapes-q" "detnas profile paper-voc"; do
            COMP_WORDS=($COMP_LINE)
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _detnas_completion detnas
            echo "${COMPREPLY[@]}"
        done
    """
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert done.stderr == ""
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["profile"],
        ["shapes-quick", "shapes-quick-fpn"],
        ["paper-voc-fpn", "paper-voc-retinanet"],
    ]


@pytest.mark.slow
def test_the_installed_command_refuses_in_one_line_with_status_2(tmp_path: Path) -> None:
    words = ["run", "shapes-quick", "--out", str(tmp_path / "run"), "--data", str(tmp_path / "none")]
    script = Path(sys.executable).with_name("detnas")
    done = subprocess.run([str(script), *words], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1 and "no such folder" in done.stderr
    assert not (tmp_path / "run").exists()


def test_version(shell: Shell) -> None:
    assert shell("--version").strip() == detnas.__version__


def test_an_unknown_command_is_an_error(shell: Shell) -> None:
    assert "No such command" in shell("serch", status=2)


def test_run_does_everything_and_says_where_it_stands(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", pretraining__source="none")
    words = ["--set", "search.evaluations=2", "--set", "finetune.steps=10", "--set", "baselines=[]"]
    said = shell("run", recipe, "--out", tmp_path / "run", "--data", blocks, *words)
    for place, stage in enumerate(
        ("supernet-pretrain", "supernet-finetune", "search", "pretrain", "finetune"), start=1
    ):
        assert f"[{place}/6] {stage}" in said
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in said and "winner: mAP" in said
    assert [path.name for path in (tmp_path / "run/finetune").iterdir()] == ["winner"]
    assert load_recipe(tmp_path / "run/recipe.yaml").search.evaluations == 2


def test_run_goes_to_runs_and_the_recipes_name(
    blocks: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", name="mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("detnas.run.pipeline.STAGES", {})
    shell("run", recipe, "--data", blocks)
    assert (tmp_path / "runs" / "mine" / "recipe.yaml").exists()


# search, status, report


def test_search_continues_a_search(copied: Path, shell: Shell) -> None:
    before = (copied / "search/candidates.jsonl").read_text()
    for name in ("done.json", "best.json", "candidates.jsonl"):
        (copied / "search" / name).unlink()
    others = {path: path.stat().st_mtime_ns for path in copied.glob("*/*/checkpoint-*.pt")}
    assert "winner: " in shell("search", copied)
    assert (copied / "search/candidates.jsonl").read_text() == before
    assert (copied / "search/done.json").exists() and (copied / "search/best.json").exists()
    assert {path: path.stat().st_mtime_ns for path in copied.glob("*/*/checkpoint-*.pt")} == others


def test_search_needs_a_trained_supernet(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    run(str(write_recipe(tmp_path / "recipe.yaml")), tmp_path / "run", blocks, stages=())
    assert "not trained" in shell.refused("search", tmp_path / "run")
    assert not (tmp_path / "run/search").exists()


def test_joining_needs_a_trained_supernet(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    run(str(write_recipe(tmp_path / "recipe.yaml")), tmp_path / "run", blocks, stages=())
    assert "not trained" in shell.refused("search", tmp_path / "run", "--join")
    assert not (tmp_path / "run/search").exists()


def test_join_works_beside_who_holds_the_run_and_where_all_is_done(copied: Path, shell: Shell) -> None:
    recipe = load_recipe(copied / "recipe.yaml")
    before = (copied / "search/candidates.jsonl").read_text()
    (copied / "search/done.json").unlink()
    with claim(copied, recipe):
        assert f"detnas search {copied} --join" in shell.refused("search", copied)
        assert "winner: " in shell("search", copied, "--join")
        assert "winner: " in shell("search", copied, "--join")
    assert (copied / "search/candidates.jsonl").read_text() == before and (copied / "search/done.json").exists()


def test_a_storage_that_cannot_be_reached_is_refused_before_any_work(
    blocks: Path, tmp_path: Path, shell: Shell
) -> None:
    words = ["run", write_recipe(tmp_path / "recipe.yaml"), "--out", tmp_path / "run", "--data", blocks]
    url = "postgresql+psycopg://me@127.0.0.1:1/studies"
    said = shell.refused(*words, "--set", f"search.storage={url}")
    assert url in said and "refused" in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["search", "status", "report"])
def test_a_folder_without_a_run_is_refused(command: str, tmp_path: Path, shell: Shell) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        assert "no run" in shell.refused(command, directory)
    assert list(tmp_path.iterdir()) == []


def test_status_of_a_finished_run(finished: Path, shell: Shell) -> None:
    said = shell("status", finished)
    for network in ("winner", "shuffle3", "random"):
        scores = json.loads((finished / "finetune" / network / "evaluation.json").read_text())["scores"]
        assert f"finetune/{network}: done" in said and f"pretrain/{network}: done" in said
        assert f"mAP {scores['mAP']:.3f}, AP50 {scores['AP50']:.3f} on the validation set" in said
    assert "supernet-pretrain: done" in said and "search: done, 6 of 6 candidates" in said
    assert f"report: {finished / 'report.html'}" in said


def test_status_of_a_run_under_way(copied: Path, shell: Shell) -> None:
    (copied / "report.html").unlink()
    shutil.rmtree(copied / "finetune/shuffle3")
    (copied / "finetune/random/done.json").unlink()
    (copied / "finetune/random/evaluation.json").unlink()
    (copied / "search/done.json").unlink()
    said = shell("status", copied).splitlines()
    assert "finetune/shuffle3: not begun" in said and "report: not written yet" in said
    assert any(line.startswith("finetune/random: 10 of 10 steps saved, loss ") for line in said)
    assert any(line.startswith("search: under way, 6 of 6 candidates") for line in said)


def test_status_names_candidates_that_failed(copied: Path, shell: Shell) -> None:
    row = {"number": 3, "architecture": "00 00 0000 00", "error": "RuntimeError: no luck"}
    (copied / "search/failed.jsonl").write_text(json.dumps(row) + "\n")
    assert "6 of 6 candidates, 1 more failed (search/failed.jsonl), best" in shell("status", copied)
    shell("report", copied)
    assert "1 more failed" in (copied / "report.html").read_text()


def test_status_of_a_run_just_begun(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    run(str(write_recipe(tmp_path / "recipe.yaml")), tmp_path / "run", blocks, stages=())
    said = shell("status", tmp_path / "run").splitlines()
    assert said[0].endswith("recipe small") and "search: not begun" in said
    assert sum(line.endswith("not begun") for line in said) == 9  # two supernets, the search, three networks twice


def test_report_is_written_anew(copied: Path, shell: Shell) -> None:
    page = (copied / "report.html").read_text()
    (copied / "report.html").unlink()
    assert str(copied / "report.html") in shell("report", copied)
    again = (copied / "report.html").read_text()
    assert len(again) == pytest.approx(len(page), rel=0.01)
    winner = json.loads((copied / "search/best.json").read_text())["architecture"]
    assert winner in again and again.count("data:image") >= 1


def test_report_of_a_run_under_way(copied: Path, shell: Shell) -> None:
    shutil.rmtree(copied / "finetune")
    (copied / "search/done.json").unlink()
    shell("report", copied)
    assert "small" in (copied / "report.html").read_text()


# profile


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names())
def test_profile_of_every_recipe(name: str, shell: Shell) -> None:
    said = shell("profile", name)
    recipe = load_recipe(name)
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    assert f"{len(recipe.search_space().blocks)} blocks of 4 ops" in said
    assert f"{sampler.share():.1%} within the budget" in said
    macs = []
    for kind in ("cheapest", "median", "most expensive"):
        found = re.search(rf"{kind} +of \d+ drawn: ([0-3 ]+?)  ([\d.]+)M MACs, ([\d.]+)M params", said)
        assert found is not None, said
        cost = sampler.table.cost(detnas.Architecture.parse(found[1]).ops)
        assert recipe.cost_budget().allows(cost)
        assert float(found[2]) == pytest.approx(cost.macs / 1e6, abs=0.06)
        assert float(found[3]) == pytest.approx(cost.params / 1e6, abs=0.006)
        macs.append(cost.macs)
    assert macs == sorted(macs)
    assert re.search(r"together +\d", said)


def test_profile_of_a_small_recipe(tmp_path: Path, shell: Shell) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", "fpn", pretraining__source="none")
    said = shell("profile", recipe)
    assert "10 blocks of 4 ops: 1.05e+06 architectures, 100.0% within the budget" in said
    assert re.search(r"supernet-pretrain +0 s", said) and "detector fpn" in said
    changed = shell("profile", recipe, "--set", "budget.macs_max=5M")
    share = float(re.search(r"([\d.]+)% within", changed)[1])  # type: ignore[index]
    assert 0 < share < 100
    assert "budget.macs" in shell.refused("profile", recipe, "--set", "budget.macs_max=1k")
    assert list(tmp_path.iterdir()) == [recipe]


# models


def test_models_lists_the_published_networks_with_their_costs(shell: Shell) -> None:
    head, *lines = shell("models").splitlines()
    assert head.split("  ")[0] == "name" and "MACs at 224" in head
    assert [line.split()[0] for line in lines] == list(NAMES)
    found = {line.split()[0]: re.split(r"  +", line) for line in lines}
    assert found["detnas-fpn-300m"][1:5] == ["small", "2120 2112 33130031 3132", "288.1M", "1.85M"]
    assert found["resnet50"][1:5] == ["-", "-", "4087.1M", "23.51M"]
    assert found["mmrazor-detnas"][5].endswith("only the choice of ops is theirs")
    assert all(len(cells) == 6 for cells in found.values())


# evaluate, predict


def decoded(path: Path) -> torch.Tensor:
    """(3, H, W) uint8."""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


def test_evaluate_says_what_the_run_says(finished: Path, blocks: Path, shell: Shell) -> None:
    said = shell("evaluate", finished / "detector.safetensors", "--data", blocks, "--batch-size", 4, "--device", "cpu")
    stored = json.loads((finished / "finetune/winner/evaluation.json").read_text())
    for name, score in (stored["scores"] | stored["per_class"]).items():
        shown = "-" if score is None else f"{score:.4f}"
        assert re.search(rf"^  {name} +{shown}", said, re.MULTILINE), (name, score, said)
    assert "on 8 images" in said


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on data without a validation file, whose seed and share are not the usual ones; and the data."""
    folder = tmp_path_factory.mktemp("cut")
    data = write_blocks(folder / "data", train=40, val=0)
    recipe = small_recipe(
        seed=5,
        data__val_fraction=0.3,
        pretraining__source="none",
        search__evaluations=3,
        baselines=[],
        supernet_finetune__steps=10,
        finetune={"steps": 60, "batch_size": 4, "optimizer": "adamw", "lr": 8e-3, "schedule": "cosine", "warmup": 5},
    )
    return run(recipe, folder / "run", data), data


def test_evaluate_cuts_the_validation_set_that_the_run_cut(cut: tuple[Path, Path], shell: Shell) -> None:
    run, data = cut
    said = shell("evaluate", run / "detector.safetensors", "--data", data, "--device", "cpu")
    stored = json.loads((run / "finetune/winner/evaluation.json").read_text())
    assert stored["images"] == 12 and stored["scores"]["AP50"] > 0
    assert "on 12 images" in said and f"  mAP    {stored['scores']['mAP']:.4f}" in said


def test_evaluate_takes_data_fields(cut: tuple[Path, Path], tmp_path: Path, shell: Shell) -> None:
    """Here to judge on a file that has another name; training annotations are not looked at."""
    run, _ = cut
    folder = write_blocks(tmp_path / "data")
    (folder / "val.json").rename(folder / "mine.json")
    (folder / "train.json").write_text("{")
    words = ("evaluate", run / "detector.safetensors", "--data", folder, "--device", "cpu", "--set")
    assert "on 8 images" in shell(*words, "data.val=mine.json", "--set", "data.val_images=val")
    assert "data.vall; did you mean data.val?" in shell.refused(*words, "data.vall=mine.json")
    assert "unknown key search" in shell.refused(*words, "search.images=3")
    assert "data.bad_boxes = 'keep'" in shell.refused(*words, "data.bad_boxes=keep")
    assert "train.json: not JSON" in shell.refused(*words, "data.bad_boxes=drop")


def test_evaluate_refuses_other_categories(finished: Path, tmp_path: Path, shell: Shell) -> None:
    folder = write_blocks(tmp_path / "data")
    for split in ("train", "val"):
        tree = json.loads((folder / f"{split}.json").read_text())
        tree["categories"][0]["name"] = "rot"
        (folder / f"{split}.json").write_text(json.dumps(tree))
    error = shell.refused("evaluate", finished / "detector.safetensors", "--data", folder)
    assert "categories" in error and "color 0, color 7, color 90" in error


def test_evaluate_refuses_what_is_no_weights_file(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for name in ("x.safetensors", "missing.safetensors"):
        assert name in shell.refused("evaluate", tmp_path / name, "--data", blocks)


def test_predict_writes_boxes_and_images(finished: Path, blocks: Path, tmp_path: Path, shell: Shell) -> None:
    weights, images = finished / "detector.safetensors", [blocks / "val/val0.png", blocks / "val/val1.png"]
    gray = tmp_path / "gray.jpg"
    Image.fromarray(np.full((50, 90), 80, np.uint8)).save(gray)
    detector, info = load_detector(weights)
    images.append(gray)
    with torch.no_grad():
        outputs = [detector([decoded(p).float() / 255])[0] for p in images]
    scores = sorted(float(score) for output in outputs for score in output["scores"])
    threshold = (scores[len(scores) // 2] + scores[len(scores) // 2 + 1]) / 2
    out = tmp_path / "out"
    said = shell("predict", weights, *images, "--out", out, "--threshold", threshold, "--device", "cpu")
    found = json.loads((out / "predictions.json").read_text())
    assert list(found) == ["val0.png", "val1.png", "gray.jpg"]
    assert sum(map(len, found.values())) == len(scores) - len(scores) // 2 - 1
    first = 1 if info.settings.type == "fpn" else 0
    for output, image, rows in zip(outputs, images, found.values(), strict=True):
        keep = output["scores"] >= threshold
        assert torch.tensor([row["score"] for row in rows]) == pytest.approx(output["scores"][keep])
        assert np.array([row["box"] for row in rows]).reshape(-1, 4) == pytest.approx(
            output["boxes"][keep].numpy(), abs=1e-3
        )
        ids = [list(COLORS)[label - first] for label in output["labels"][keep].tolist()]
        assert [row["category_id"] for row in rows] == ids
        assert [row["name"] for row in rows] == [f"color {id}" for id in ids]
        drawn = decoded(out / f"{image.stem}.png")
        given = decoded(image)
        assert drawn.shape == given.shape
        assert torch.equal(drawn, given) == (not rows)
        assert f"{image.stem}.png: {len(rows)} objects" in said


def test_predict_turns_images_as_viewers_show_them(finished: Path, blocks: Path, tmp_path: Path, shell: Shell) -> None:
    image = Image.open(blocks / "val/val0.png").crop((0, 0, 48, 30))
    image.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    files = (tmp_path / "upright.png", tmp_path / "turned.png")
    shell("predict", finished / "detector.safetensors", *files, "--out", tmp_path / "out", "--threshold", 0)
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert found["upright.png"] == found["turned.png"] and found["upright.png"]
    assert torch.equal(decoded(tmp_path / "out/upright.png"), decoded(tmp_path / "out/turned.png"))


def test_predict_finds_nothing_above_the_highest_threshold(
    finished: Path, blocks: Path, tmp_path: Path, shell: Shell
) -> None:
    image = blocks / "val/val0.png"
    shell("predict", finished / "detector.safetensors", image, "--out", tmp_path, "--threshold", 1)
    assert json.loads((tmp_path / "predictions.json").read_text()) == {"val0.png": []}


def test_predict_refuses_before_it_writes(finished: Path, blocks: Path, tmp_path: Path, shell: Shell) -> None:
    weights, fine = finished / "detector.safetensors", blocks / "val/val0.png"
    torn = tmp_path / "torn.png"
    torn.write_bytes(fine.read_bytes()[:100])
    twin = tmp_path / "val0.png"
    twin.write_bytes(fine.read_bytes())
    same_stem = tmp_path / "val0.jpg"
    Image.open(fine).save(same_stem)
    for other, words in (
        (tmp_path / "none.png", "no such image"),
        (torn, "torn.png"),
        (twin, "is also that of"),
        (same_stem, "is also that of"),
    ):
        assert words in shell.refused("predict", weights, fine, other, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()
    before = twin.read_bytes()
    assert "overwritten" in shell.refused("predict", weights, twin, "--out", tmp_path)
    assert twin.read_bytes() == before and not (tmp_path / "predictions.json").exists()


# doctor, data


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the official code: the 300M network for ImageNet."""
    network = detnas.create_backbone("detnas-fpn-300m")
    names = backbone_names(network).modules
    tensors = {}
    for key, tensor in network.state_dict().items():
        module, _, last = key.rpartition(".")
        tensors[f"module.{names[module]}.{last}"] = tensor
    file = tmp_path_factory.mktemp("official") / "COCO_FPN_300M.pkl"
    torch.save({"state_dict": tensors | {"module.fc.fc.bias": torch.zeros(1000)}}, file)
    return file


def test_import_writes_a_backbone_that_opens_anywhere(official: Path, tmp_path: Path, shell: Shell) -> None:
    file = tmp_path / "backbone.safetensors"
    said = shell("import", official, "--as", "detnas-fpn-300m", "--out", file, "--shuffle", "interleave")
    assert said.splitlines() == [
        f"{file}: the backbone detnas-fpn-300m",
        "  channels split as interleave; images go in as BGR values in 0-255",
        "  left out, having no place in a backbone: fc.fc.bias",
    ]
    backbone = detnas.create_backbone(str(file))
    expected = detnas.import_official(official, "detnas-fpn-300m", shuffle="interleave").state_dict()
    assert backbone.shuffle == "interleave"
    assert all(torch.equal(tensor, expected[key]) for key, tensor in backbone.state_dict().items())
    assert "holds a backbone alone" in shell.refused("predict", file, official.parent, "--out", tmp_path / "out")
    assert "holds a backbone alone" in shell.refused("evaluate", file, "--data", tmp_path)


@pytest.mark.parametrize("supernet", [False, True])
def test_import_writes_a_detector_that_detects(
    supernet: bool, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SearchSpace("official", official_reference.STEM, official_reference.CHANNELS, official_reference.REPEATS)
    architecture = space.uniform("shuffle3")
    monkeypatch.setitem(PUBLISHED, "small-one", PublishedNetwork(space, architecture, "these tests"))
    monkeypatch.setitem(SPACES, "small", space)
    w = official_reference.Tensors()
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    official_reference.detect(w, "retinanet", image, 1, 20, list(architecture.ops), supernet)
    torch.save({"model": dict(w)}, tmp_path / "model_final.pth")
    file, name = tmp_path / "a.safetensors", "small-supernet" if supernet else "small-one"
    said = shell("import", tmp_path / "model_final.pth", "--as", name, "--out", file).splitlines()
    assert said == [
        f"{file}: the detector {name} (retinanet), 20 categories (aeroplane, bicycle, bird, …)",
        f"  channels split as {'interleave' if supernet else 'even_odd'}; images go in as BGR values in 0-255",
    ]
    Image.fromarray((image.permute(1, 2, 0) * 255).numpy().astype(np.uint8)).save(tmp_path / "a.png")
    words = ("predict", file, tmp_path / "a.png", "--out", tmp_path / "out", "--threshold", 0.06)
    if supernet:
        assert "holds a supernet's detector" in shell.refused(*words)
    else:
        shell(*words)
        found = json.loads((tmp_path / "out" / "predictions.json").read_text())["a.png"]
        assert found and {one["category_id"] for one in found} <= set(range(1, 21))


def test_import_refuses_before_it_writes(official: Path, tmp_path: Path, shell: Shell) -> None:
    file = tmp_path / "a.safetensors"
    for name, out, words in (
        ("detnas-fpn-3.8g", file, "of its tensors"),
        ("small-supernet", file, "holds a single network"),
        ("detnas-fpn-300", file, "did you mean detnas-fpn-300m?"),
        ("detnas-fpn-300m", tmp_path, "is a folder"),
        ("detnas-fpn-300m", official, "is the checkpoint itself"),
        ("detnas-fpn-300m", official / "a.safetensors", "cannot be written"),
    ):
        assert words in shell.refused("import", official, "--as", name, "--out", out)
    assert "--shuffle odd: choose one of even_odd, interleave" in shell.refused(
        "import", official, "--as", "detnas-fpn-300m", "--out", file, "--shuffle", "odd"
    )
    assert "nowhere: cannot be read" in shell.refused("import", tmp_path / "nowhere", "--as", "spos", "--out", file)
    assert list(tmp_path.iterdir()) == []


def test_doctor(shell: Shell) -> None:
    said = shell("doctor")
    assert f"torch {torch.__version__}" in said and "detnas" in said and "GPU" in said and "GB free" in said


def test_doctor_says_how_several_gpus_are_used(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    facts = SimpleNamespace(name="a GPU", total_memory=8e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: facts)
    assert "torchrun --nproc-per-node=2 -m detnas run" in shell("doctor")


def test_doctor_says_that_the_machine_is_busy(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.9 * (os.cpu_count() or 1), 0, 0))
    assert "! other programs keep" in shell("doctor")
    monkeypatch.setattr("os.getloadavg", lambda: (0.2, 0, 0))
    assert "other programs" not in shell("doctor")


def test_data_check_of_a_fine_folder(
    blocks: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = shell("data", "check", blocks)
    assert f"Drawn with boxes: runs/check-{blocks.name}.jpg" in said
    assert Image.open(tmp_path / "runs" / f"check-{blocks.name}.jpg").width > 1000
    before = sorted(blocks.rglob("*"))
    monkeypatch.chdir(blocks)
    assert "Not drawn, for this is the data folder" in shell("data", "check", ".")
    assert "lies in the data folder" in shell.refused("data", "check", blocks, "--out", "a.png")
    assert sorted(blocks.rglob("*")) == before
    assert "24 images" in said and "8 images" in said and "3 categories" in said and "color 90" in said
    boxes = json.loads((blocks / "train.json").read_text())["annotations"]
    assert f"{len(boxes)} boxes" in said and "ERROR" not in said
    assert f"color 7 {sum(box['category_id'] == 7 for box in boxes)}" in said


def test_data_check_names_every_error(tmp_path: Path, shell: Shell) -> None:
    folder = write_blocks(tmp_path / "data")
    tree = json.loads((folder / "train.json").read_text())
    tree["annotations"][0]["bbox"] = [40, 40, 30, 30]
    tree["annotations"][1]["category_id"] = 5
    tree["images"][9]["width"] = 50
    (folder / "train.json").write_text(json.dumps(tree))
    (folder / "train/train3.png").unlink()
    (folder / "train/train4.png").write_bytes(b"GIF")
    said = shell("data", "check", folder, status=2)
    assert said.count("ERROR") == 5
    for words in ("train3.png", "train4.png", "category_id 5", "outside their image", "48x48, not 50x48"):
        assert words in said


def test_data_check_takes_data_fields_and_a_file(tmp_path: Path, shell: Shell) -> None:
    folder = write_blocks(tmp_path / "data")
    (folder / "train.json").rename(folder / "mine.json")
    words = ("data", "check", folder, "--out", tmp_path / "a.png", "--set", "data.train_images=train")
    assert "name the file by data.train" in shell.refused(*words)
    assert not (tmp_path / "a.png").exists()
    said = shell(*words, "--set", "data.train=mine.json")
    assert "mine.json" in said and f"Drawn with boxes: {tmp_path / 'a.png'}" in said and (tmp_path / "a.png").exists()
    assert "unknown key search" in shell.refused(*words, "--set", "search.images=3")


def test_data_check_of_nothing(tmp_path: Path, shell: Shell) -> None:
    assert "no such folder" in shell.refused("data", "check", tmp_path / "missing")
    assert "is empty" in shell.refused("data", "check", tmp_path)


def test_data_shapes(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = detnas.data.shapes.write.write_shapes  # type: ignore[attr-defined]
    monkeypatch.setattr("detnas.data.shapes.write.write_shapes", lambda *a, **k: whole(*a, **k, crops=24))
    folder = tmp_path / "shapes"
    said = shell("data", "shapes", folder, "--train", 5, "--val", 2, "--size", 40, "--seed", 3)
    assert "5 + 2 images" in said
    tree = json.loads((folder / "train.json").read_text())
    assert len(tree["images"]) == 5 and tree["images"][0]["width"] == 40
    assert [category["name"] for category in tree["categories"]] == list(CLASSES)
    assert "Nothing in the way" in shell("data", "check", folder, "--out", tmp_path / "a.jpg")
    assert "empty" in shell.refused("data", "shapes", folder)
