"""VOC through the whole pipeline, in miniature: a VOC tree of shapes, the search guided by VOC's score."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from make_voc import xml_of
from small_recipe import small_recipe, training

from detnas.cli.main import main
from detnas.config import ShapesSettings
from detnas.data.shapes.write import write_shapes
from detnas.run import pipeline

LISTS = {"train": "trainval", "val": "test"}


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOCdevkit/VOC2007 of shapes; every seventh object is difficult."""
    folder = tmp_path_factory.mktemp("voc")
    write_shapes(folder / "shapes", ShapesSettings(train=24, val=8, size=48, crops=0, min_object=12))
    tree = folder / "VOCdevkit" / "VOC2007"
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tree / part).mkdir(parents=True)
    number = 0
    for split, listed in LISTS.items():
        content = json.loads((folder / "shapes" / f"{split}.json").read_text())
        names = {category["id"]: category["name"] for category in content["categories"]}
        lines = []
        for image in content["images"]:
            lines.append(f"{len(list((tree / 'Annotations').iterdir())) + 1:06d}")
            objects = []
            for found in (a for a in content["annotations"] if a["image_id"] == image["id"]):
                x, y, width, height = found["bbox"]
                number += 1
                objects.append(
                    (names[found["category_id"]], (x + 1, y + 1, x + width, y + height), int(number % 7 == 0))
                )
            file = folder / "shapes" / split / image["file_name"]
            file.rename(tree / "JPEGImages" / f"{lines[-1]}.png")
            (tree / "Annotations" / f"{lines[-1]}.xml").write_text(xml_of(objects, f"{lines[-1]}.png", 48, 48))
        (tree / "ImageSets" / "Main" / f"{listed}.txt").write_text("\n".join(lines))
    return folder


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    monkeypatch.setattr(sys, "argv", ["detnas", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("detector", ["retinanet", pytest.param("fpn", marks=pytest.mark.slow)])
def test_voc_runs_the_whole_pipeline(
    detector: str, voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_recipe(
        detector,
        data={"search_images": 6},
        baselines=[],
        supernet_pretrain=training(batch_size=4, steps=10),
        supernet_finetune=training(steps=10),
        search__metric="VOC07",
        search__evaluations=3,
    )
    run = pipeline.run(recipe, tmp_path / "run", voc)
    tree = voc / "VOCdevkit" / "VOC2007"
    assert len(json.loads((run / "splits.json").read_text())["search"]) == 6
    best: dict[str, Any] = json.loads((run / "search" / "best.json").read_text())
    assert best["metric"] == "VOC07"
    stored = json.loads((run / "finetune" / "winner" / "evaluation.json").read_text())
    assert stored["images"] == 8 and {"VOC07", "VOC", "mAP"} <= stored["scores"].keys()
    found = json.loads((run / "finetune" / "winner" / "detections.json").read_text())
    assert {row["image_id"] for row in found} == set(range(25, 33))
    (tree / "ImageSets/Main/trainval.txt").rename(tree / "kept")  # evaluate needs no training set
    lines = said(monkeypatch, capsys, "evaluate", run / "detector.safetensors", "--data", voc, "--device", "cpu")
    (tree / "kept").rename(tree / "ImageSets/Main/trainval.txt")
    for name, score in (stored["scores"] | stored["per_class"]).items():
        shown = "-" if score is None else f"{score:.4f}"
        assert re.search(rf"^  {name} +{shown}", lines, re.MULTILINE), name
    assert re.search(r"best VOC07 0\.\d+ on the search split", said(monkeypatch, capsys, "status", run))
    page = (run / "report.html").read_text()
    assert "Fitness is VOC07 on the search split" in page and "mAP, AP50, VOC07 on the validation set" in page
