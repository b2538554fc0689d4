"""Values of a weights file in generated code, and in what is read of a data folder."""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from detecting import ARCHITECTURE, CATEGORIES, SPACE, detector, settings, write_noise
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from shell import Shell

import detnas
from detnas.config import DataSettings, Preprocessing, change_data
from detnas.config.file_data import data_of_file
from detnas.exporting.plain_python import constants, definition
from detnas.models.weights import DetectorInfo, save_detector
from detnas.utils.errors import UserError

EVIL = 'x"""\nimport os\nraise SystemExit(7)\n"""{0}%s$space'


def info() -> DetectorInfo:
    return DetectorInfo(SPACE, ARCHITECTURE, settings("retinanet"), CATEGORIES)


@examples(deadline=None)
@given(st.text() | st.just(EVIL), st.text() | st.just(EVIL), st.text(st.characters(codec=None)))
def test_values_in_generated_code_are_nothing_but_values(name: str, shuffle: str, order: str) -> None:
    """Even those that no file can bring, since it is read by a strict record."""
    input = Preprocessing.model_construct(
        image_mean=(0.0, 0.0, 0.0), image_std=(1.0, 1.0, 1.0), channel_order=cast(Any, order)
    )
    parts = ("stem", "strides", "blocks", "ops", "family", "map_channels", "map_blocks")
    space = SimpleNamespace(**{part: getattr(SPACE, part) for part in parts})
    space.name = name
    strange = SimpleNamespace(space=space, architecture=ARCHITECTURE, preprocessing=input, shuffle=shuffle)
    plain, other = (ast.parse(definition(cast(Any, one))) for one in (info(), strange))
    values = [
        {ast.unparse(node).partition(" ")[0].rstrip(":"): cast(Any, node).value for node in constants_of(tree)}
        for tree in (plain, other)
    ]
    assert ast.literal_eval(values[1]["SPACE"]) == name and ast.literal_eval(values[1]["SHUFFLE"]) == shuffle
    assert ast.literal_eval(values[1]["CHANNEL_ORDER"]) == order
    for tree in (plain, other):
        for node in constants_of(tree):
            cast(Any, node).value = ast.Constant(0)
    assert ast.dump(plain) == ast.dump(other)


def constants_of(tree: ast.Module) -> list[ast.stmt]:
    names = constants(info())
    found = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return [node for node in found if ast.unparse(node).partition(" ")[0].rstrip(":") in names]


def test_the_generated_file_says_what_it_is(tmp_path: Path) -> None:
    weights = tmp_path / "a.safetensors"
    save_detector(weights, *detector("retinanet"))
    detnas.export(weights, "py", check=[*write_noise(tmp_path)])
    code = "import backbone as b; print(b.SPACE, b.ARCHITECTURE, b.STRIDES, b.CHANNELS, sum(map(bool, b.BLOCKS)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == "toy 13 2 03 3 [4, 8, 16, 32] [8, 16, 24, 32] 6\n"


OUTSIDE = [{"val": "/etc/a.json"}, {"val": "../a.json"}, {"val": "a/../../b.json"}, {"val": ["a.json", "/b.json"]}]
OUTSIDE += [
    {"val_images": "/etc"},
    {"train": "../a.json"},
    {"train_images": ".."},
    {"val": "a.json", "val_images": ".."},
]


@pytest.mark.parametrize("names", OUTSIDE)
def test_names_of_a_file_do_not_lead_out_of_the_data_folder(names: dict[str, Any]) -> None:
    data = DataSettings.model_validate(names)
    field = [*names][-1]
    with pytest.raises(UserError, match=rf"^w: its data\.{field} = .*; name it yourself by --set data\.{field}=…$"):
        data_of_file(Path("w"), data)
    for mine in ("/mine/a.json", "a.json"):
        changes = [f"data.{field}={mine}"]
        assert data_of_file(Path("w"), data, changes) == change_data(data, changes)


@pytest.mark.parametrize(
    "names", [{}, {"val": "a.json"}, {"val": "a/b..json", "train": "/etc/a.json"}, {"train": "VOC/a"}]
)
def test_names_within_the_data_folder_are_taken(names: dict[str, Any]) -> None:
    """The names of a training set lead nowhere where a validation set is named."""
    data = DataSettings.model_validate(names)
    assert data_of_file(Path("w"), data) == data


def test_evaluate_and_export_read_nothing_outside_of_the_data_folder(
    blocks: Path, tmp_path: Path, shell: Shell
) -> None:
    made, about = detector("retinanet")
    secret = tmp_path / "secret.json"
    secret.write_text('{"private": 1}')
    for number, name in enumerate((str(secret), "../secret.json")):
        weights = tmp_path / f"{number}.safetensors"
        save_detector(weights, made, replace(about, data=DataSettings(val=name)))
        for words in (["evaluate", weights], ["export", weights, "--format", "py"]):
            said = shell.refused(*words, "--data", blocks)
            assert "leads out of the data folder" in said and "private" not in said
