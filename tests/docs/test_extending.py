"""The examples of docs/extending.md run as they are printed: custom ops, spaces and fitness in the whole pipeline."""

import json
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from paths import DOCS
from shell import Shell

import detnas
from detnas.config import load_recipe
from detnas.models.weights import load_detector

TEXT = (DOCS / "extending.md").read_text()
FILES = dict(re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL))
CUSTOM = "my_blocks:InvertedResidual"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Writes every file of the guide into the current folder, from which Python imports."""
    folder = tmp_path_factory.mktemp("extending")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield folder
    for module in ("my_blocks", "my_fitness"):
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def custom_block(folder: Path) -> Path:
    """The run of the guide with a custom op."""
    runpy.run_path("custom_block.py")
    return folder / "runs" / "custom-block"


def test_the_guide_names_the_file_of_every_example() -> None:
    assert len(FILES) == len(re.findall("^```(?:python|yaml)$", TEXT, flags=re.MULTILINE)) == 8


def test_an_custom_block_goes_through_the_whole_pipeline(custom_block: Path, shell: Shell, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (custom_block / "search" / "candidates.jsonl").read_text().splitlines()]
    space = load_recipe(custom_block / "recipe.yaml").search_space()
    assert space.ops == ("shuffle3", "shuffle7", CUSTOM)
    for row in rows:
        cost = space.cost(detnas.Architecture.parse(row["architecture"]))
        assert (row["macs"], row["params"]) == (cost.macs, cost.params)
    assert any("2" in row["architecture"] for row in rows)
    assert CUSTOM in (custom_block / "report.html").read_text()
    weights = custom_block / "detector.safetensors"
    image = next((custom_block / "data").rglob("*.png"))
    said = shell("predict", weights, image, "--out", tmp_path / "drawn", "--op", CUSTOM)
    assert "objects" in said
    assert (tmp_path / "drawn" / image.name).is_file()


def test_a_network_of_custom_blocks_is_retrained_and_exported_but_not_as_plain_python(
    custom_block: Path, shell: Shell, tmp_path: Path
) -> None:
    shell("retrain", custom_block, "22 22 2222 22")
    other = custom_block / "finetune" / "22-22-2222-22" / "detector.safetensors"
    image = next((custom_block / "data").rglob("*.png"))
    assert f"the code of the ops of family shufflenet only, and this network has {CUSTOM}" in shell.refused(
        "export", other, "--format", "py", "--check", image, "--op", CUSTOM
    )
    assert detnas.export(other, "torch", tmp_path / "a.pt2", check=[image], ops=[CUSTOM]).is_file()
    detector, _ = load_detector(other, [CUSTOM])
    from my_blocks import InvertedResidual  # type: ignore[import-not-found]

    assert all(isinstance(block, InvertedResidual) for block in detector.backbone.body.blocks)


@pytest.mark.slow
def test_other_commands_know_an_custom_block(custom_block: Path, shell: Shell, tmp_path: Path) -> None:
    ops = f"space.ops=[shuffle3, shuffle7, '{CUSTOM}']"
    assert "10 blocks of 3 ops" in shell("profile", "seconds.yaml", "--set", ops)
    said = shell("profile", "seconds.yaml", "--set", ops, "--latency")
    table = re.findall(r"budget\.latencies=(\S+)", said)[0]
    assert json.loads(Path(table).read_text())["tables"][0]["ops"] == ["shuffle3", "shuffle7", CUSTOM]
    shell("run", "seconds.yaml", "--set", ops, "--dry-run")
    run = tmp_path / "run"
    shutil.copytree(custom_block, run, ignore=shutil.ignore_patterns("search", "pretrain", "finetune"))
    shell("search", run, "--join")
    assert len((run / "search" / "candidates.jsonl").read_text().splitlines()) == 4
    shell("rank", run, "--n", "3")
    image = next((custom_block / "data").rglob("*.png"))
    for name in ("onnx", "onnx-backbone"):
        out = tmp_path / f"{name}.onnx"
        shell(
            "export",
            custom_block / "detector.safetensors",
            "--format",
            name,
            "--check",
            image,
            "--op",
            CUSTOM,
            "--out",
            out,
        )
        assert out.is_file()


def test_a_weights_file_imports_nothing_by_itself(
    custom_block: Path, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = custom_block / "detector.safetensors"
    monkeypatch.delitem(sys.modules, "my_blocks")
    message = shell.refused("predict", weights, weights, "--out", tmp_path / "drawn")
    assert f"{weights}: has ops that are not detnas's ({CUSTOM})" in message and f"--op {CUSTOM}" in message
    with pytest.raises(detnas.UserError, match=r"in Python ops=\['my_blocks:InvertedResidual'\]"):
        detnas.create_backbone(weights)
    with pytest.raises(detnas.UserError, match="if you trust that code"):
        detnas.export(weights, "torch", ops=["another:Op"])
    assert "my_blocks" not in sys.modules
    # Nor do the commands that only read.
    shell("status", custom_block)
    shell("report", custom_block)
    assert "my_blocks" not in sys.modules
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(custom_block.parent.parent)])
    with pytest.raises(detnas.UserError, match=r"my_blocks:InvertedResidual cannot be imported \(ModuleNotFoundError"):
        detnas.create_backbone(weights, ops=[CUSTOM])


def test_a_custom_space_is_searched(folder: Path) -> None:
    names = runpy.run_path("custom_space.py")
    assert [x.shape[1] for x in names["backbone"](torch.rand(1, 3, 64, 64))] == [16, 32, 48]
    assert names["space"].size == 64 and len(names["detections"]) == 1
    best = json.loads((names["run"] / "search" / "best.json").read_text())
    architecture = detnas.Architecture.parse(best["architecture"])
    assert tuple(map(len, architecture.stages)) == (1, 2, 3, 1) and max(architecture.ops) <= 2
    stored = yaml.safe_load((names["run"] / "recipe.yaml").read_text())["space"]
    assert stored["channels"] == [12, 16, 32, 48] and stored["ops"] == ["shuffle3", "shuffle5", "xception"]


def test_a_custom_fitness_of_architectures_is_searched(folder: Path) -> None:
    names = runpy.run_path("custom_fitness.py")
    rows = names["rows"]
    assert len(rows) == 24 and all(row["macs"] <= 5e6 for row in rows)
    for row in rows:
        assert row["fitness"] == names["large_kernels_late"](detnas.Architecture.parse(row["architecture"]))


def test_a_custom_fitness_of_detectors_is_searched(folder: Path) -> None:
    runpy.run_path("run_with_custom_fitness.py")
    run = folder / "runs" / "custom-fitness"
    rows = [json.loads(line) for line in (run / "search" / "candidates.jsonl").read_text().splitlines()]
    assert {row["metric"] for row in rows} == {"my_fitness:rings_for_few_macs"}
    # The AP of a class is never negative.
    assert all(row["fitness"] >= -row["macs"] / 1e9 and row["AP50"] is not None for row in rows)
    assert "my_fitness:rings_for_few_macs" in (run / "report.html").read_text()
    best = max(rows, key=lambda row: (row["fitness"], -row["macs"], -row["number"]))
    assert json.loads((run / "search" / "best.json").read_text()) == best
