"""Whatever is fed to it: one line and exit status 2, or it is accepted and trains a step."""

import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from make_coco import some_images, tree_of, write_coco
from make_voc import write_voc
from make_yolo import write_yolo
from PIL import Image
from small_recipe import small_tree, training

from detnas.cli.main import main
from detnas.run import pipeline

SIDE = 32
NAMES = {"train": [f"t {n}" for n in range(6)], "val": [f"v/{n}" for n in range(3)]}
RECIPE = small_tree(
    seed=0,
    data={},
    detector__min_size=SIDE,
    detector__max_size=2 * SIDE,
    pretraining={"source": "none"},
    supernet_finetune=training(steps=1, batch_size=2, warmup=0, scale_jitter=[0.8, 1.2], color_jitter=0.1),
    baselines=[],
)
NUMBERS = st.sampled_from(
    [-(10**400), -1, 0, 1, 2, 3, 7, 31, 33, 1e-9, 0.5, -0.5, 1.5, float("nan"), float("inf"), 1e300]
)
TEXTS = st.sampled_from(
    ["", " ", "0", "1", "nan", "a\nb", "../..", "/", "x" * 300, "\0", "\ud800", "ä 例", "t 0.png", "0x1F"]
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = LEAVES | st.lists(LEAVES, max_size=5) | st.dictionaries(TEXTS, LEAVES, max_size=2)
"""What may stand where something else should."""
BYTES = st.sampled_from(
    [b"", b"\0", b"\xff\xfe", b"[" * 3000, b"<", b"&a;", b"{", b"\n", b": ", b"- ", b"9" * 5000, b"\x80"]
)


def examples(count: int) -> Any:
    phases = (Phase.explicit, Phase.reuse, Phase.generate)  # to shrink what fails would take minutes
    return settings(max_examples=count, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound data set of each format, and a recipe."""
    folder = tmp_path_factory.mktemp("sound")
    for split, names in NAMES.items():
        tree = tree_of(some_images(len(names), SIDE))
        for image, name in zip(tree["images"], names, strict=True):
            image["file_name"] = f"{name}.png"
        write_coco(folder / "coco" / f"{split}.json", folder / "coco" / split, tree)
    write_voc(folder / "voc", {split: [name.replace("/", "") for name in names] for split, names in NAMES.items()})
    lines = {"train": ["0 0.5 0.5 0.5 0.25", "1 0.2 0.2 0.3 0.2 0.4 0.9"], "val": ["1 0.25 0.5 0.5 1"]}
    images = {f"{split}/{name}.jpg": lines[split] for split, names in NAMES.items() for name in names}
    write_yolo(folder / "yolo", images, "train: images/train\nval: images/val\nnames: [cat, dog]\nnc: 2\n")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


@contextlib.contextmanager
def copied(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(shutil.copytree(folder, Path(temporary) / "copy"))


def detnas(*words: object) -> tuple[int, str]:
    """The exit status of a command, and what it said on standard error."""
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["detnas", *map(str, words)]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as end,
    ):
        main()
    return end.value.code or 0, said.getvalue()


def trains_or_refuses(recipe: Path, data: Path, *changes: str) -> bool:
    """Run the supernet's one step; whether it was accepted."""
    out = data.parent / "run"
    words = [word for change in changes for word in ("--set", change)]
    with mock.patch.object(pipeline, "STAGES", {"supernet-finetune": pipeline.supernet_finetune}):
        status, said = detnas("run", recipe, "--data", data, "--out", out, *words)
    event("accepted" if status == 0 else "refused")
    if status == 0:
        assert said == "" and (out / "supernet-finetune" / "done.json").exists()
        return True
    assert status == 2 and said.startswith("detnas: ") and said.count("\n") == 1 and len(said) > 30, said
    assert not (out / "supernet-finetune" / "done.json").exists()
    return False


def check_agrees(data: Path, accepted: bool) -> None:
    """What `data check` says is what a run does."""
    status, said = detnas("data", "check", data, "--out", data.parent / "grid.png")
    assert (status == 0) == accepted, said
    assert said.count("\n") <= 1 and (data.parent / "grid.png").exists() == accepted


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every value of a tree: what holds it, and its key there."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in items for place in [(tree, key), *places(value)]]


def spoil(data: st.DataObject, tree: Any) -> None:
    """Change a tree somewhere, once or more."""
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(tree)))
        what = data.draw(st.sampled_from(["replace", "replace", "remove", "twice", "like another"]))
        if what == "remove":
            del holder[key]
        elif what == "twice" and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif what == "like another":
            other, place = data.draw(st.sampled_from(places(tree)))
            holder[key] = json.loads(json.dumps(other[place]))
        else:
            holder[key] = data.draw(VALUES)
        if not places(tree):
            return


def spoil_bytes(data: st.DataObject, file: Path) -> None:
    """Cut a file somewhere, or put something else there."""
    content = file.read_bytes()
    place = data.draw(st.integers(0, len(content)))
    more = data.draw(BYTES)
    rest = data.draw(st.sampled_from([b"", content[place:], content[place + 1 :]]))
    file.write_bytes(content[:place] + more + rest)


@examples(50)
@given(data=st.data())
def test_coco(sound: Path, data: st.DataObject) -> None:
    with copied(sound / "coco") as folder:
        file = folder / data.draw(st.sampled_from(["train.json", "val.json"]))
        if data.draw(st.integers(0, 5)):
            tree = json.loads(file.read_text())
            spoil(data, tree)
            file.write_text(json.dumps(tree))
        else:
            spoil_bytes(data, file)
        check_agrees(folder, trains_or_refuses(sound / "recipe.yaml", folder))


@examples(35)
@given(data=st.data())
def test_voc(sound: Path, data: st.DataObject) -> None:
    with copied(sound / "voc") as folder:
        file = data.draw(st.sampled_from(sorted([*folder.rglob("*.xml"), *folder.rglob("*.txt")])))
        text = file.read_text()
        if file.suffix == ".xml" and data.draw(st.integers(0, 3)):
            tags = [
                "name",
                "width",
                "height",
                "xmin",
                "ymin",
                "xmax",
                "ymax",
                "difficult",
                "filename",
                "object",
                "size",
            ]
            tag = data.draw(st.sampled_from(tags))
            before, rest = text.split(f"<{tag}>", 1)
            value, after = rest.split(f"</{tag}>", 1)
            new = data.draw(
                st.one_of(NUMBERS.map(str), st.sampled_from(["", "a", "<a/>", "24", "-3", "dog", "\n7 ", value]))
            )
            whole = data.draw(st.sampled_from([f"<{tag}>{new}</{tag}>", "", f"<{tag}>{value}</{tag}>" * 2]))
            file.write_text(before + whole + after)
        elif data.draw(st.booleans()):
            spoil_bytes(data, file)
        else:
            file.unlink()
        check_agrees(folder, trains_or_refuses(sound / "recipe.yaml", folder))


@examples(45)
@given(data=st.data())
def test_yolo(sound: Path, data: st.DataObject) -> None:
    with copied(sound / "yolo") as folder:
        file = data.draw(st.sampled_from([folder / "data.yaml", *sorted(folder.rglob("*.txt"))]))
        what = data.draw(st.sampled_from(["values", "values", "values", "bytes", "remove"]))
        if what == "bytes":
            spoil_bytes(data, file)
        elif what == "remove":
            file.unlink()
        elif file.suffix == ".yaml":
            tree = yaml.safe_load(file.read_text())
            spoil(data, tree)
            with contextlib.suppress(ValueError, yaml.YAMLError):
                file.write_text(yaml.safe_dump(tree, allow_unicode=True), errors="replace")
        else:
            words = file.read_text().split(" ")
            words[data.draw(st.integers(0, len(words) - 1))] = str(data.draw(LEAVES))
            file.write_text(" ".join(words), errors="replace")
        check_agrees(folder, trains_or_refuses(sound / "recipe.yaml", folder))


@examples(45)
@given(data=st.data(), kind=st.sampled_from(["coco", "voc", "yolo"]))
def test_images(sound: Path, data: st.DataObject, kind: str) -> None:
    with copied(sound / kind) as folder:
        file = data.draw(st.sampled_from(sorted([*folder.rglob("*.png"), *folder.rglob("*.jpg")])))
        what = data.draw(st.sampled_from(["bytes", "bytes", "mode", "size", "orientation", "remove", "folder"]))
        image = Image.open(file).convert("RGB")
        if what == "bytes":
            spoil_bytes(data, file)
        elif what == "remove":
            file.unlink()
        elif what == "folder":
            file.unlink()
            file.mkdir()
        elif what == "mode":
            modes = ["L", "1", "CMYK"] if file.suffix == ".jpg" else ["L", "1", "P", "LA", "RGBA", "I;16", "I", "F"]
            mode = data.draw(st.sampled_from(modes))
            converted = image.convert(mode) if mode != "I;16" else Image.fromarray(np.asarray(image, np.uint16)[..., 0])
            converted.save(file, "TIFF" if mode in ("I", "F") else None)
        elif what == "size":
            image.resize((data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)))).save(file)
        else:
            image.getexif()[0x0112] = data.draw(st.integers(0, 9))
            image.save(file, exif=image.getexif())
        accepted = trains_or_refuses(sound / "recipe.yaml", folder)
        status, _ = detnas("data", "check", folder, "--out", folder.parent / "grid.png")
        # Of damaged images a run decodes those that it trains on, and these may have any size.
        assert what == "bytes" or accepted == (status == 0)


@examples(50)
@given(data=st.data())
def test_recipes(sound: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        recipe = Path(temporary) / "recipe.yaml"
        tree = json.loads(json.dumps(RECIPE))
        if data.draw(st.integers(0, 4)):
            spoil(data, tree)
            try:
                recipe.write_text(yaml.safe_dump(tree), errors="replace")
            except ValueError:  # a number that YAML cannot write
                recipe.write_text(str(tree), errors="replace")
        else:
            recipe.write_text(yaml.safe_dump(tree))
            spoil_bytes(data, recipe)
        folder = Path(shutil.copytree(sound / "coco", Path(temporary) / "data"))
        trains_or_refuses(recipe, folder)


SETTINGS = st.sampled_from(
    [
        *("", "[", "{a: 1}", "null", "~", "yes", "-1", "0", "1", "2", "0.5", ".nan", ".inf", "1e400", "[1, 2]"),
        *("[0.5, 0.1]", "2020-13-45", "!!int a", "!!bool maybe", "!!timestamp x", "!!python/object:os.system {}"),
        *("*a", "&a [*a]", "a: b", "[" * 3000, "9" * 5000, "'\\", "../coco/train.json", "nowhere", "\0", "300M", "M"),
        *("k", "0x", "1:99", "? a"),
    ]
)


@examples(40)
@given(data=st.data())
def test_changes(sound: Path, data: st.DataObject) -> None:
    def paths(tree: dict[str, Any], path: str = "") -> list[str]:
        below = [
            paths(value, f"{path}{key}.") if isinstance(value, dict) else [path + key] for key, value in tree.items()
        ]
        return [one for several in below for one in several]

    known = [*paths(RECIPE), "data.train", "data.val", "data.train_images", "data.search_images", "budget.macs_max"]
    key = data.draw(st.sampled_from(known) | st.sampled_from(["", ".", "a", "seed.a", "search..images", "detector"]))
    value = data.draw(st.sampled_from(["0", "1", "2", "0.5", "33"]) | SETTINGS)
    with copied(sound / "coco") as folder:
        trains_or_refuses(sound / "recipe.yaml", folder, f"{key}={value}")
