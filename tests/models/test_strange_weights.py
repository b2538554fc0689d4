"""Weights files from strangers: read as the values that they hold, or refused in one line before anything is built."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import ARCHITECTURES, SETTINGS, SPACE
from weights_files import Tree, read_parts, rewrite, write_parts

from detnas.exporting.plain_python import definition
from detnas.models.weights import DetectorInfo, load_weights, save_detector
from detnas.models.weights_header import is_intact
from detnas.utils.errors import UserError
from detnas.utils.text import printable

BLOCKS = 10**6
MUCH = "9" * 20_000
EVIL = 'x"""\nimport os\nopen(os.environ["MARK"], "w")\n"""'


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    info = DetectorInfo(SPACE, ARCHITECTURES[1], SETTINGS["retinanet"](), ((3, "a"), (7, "b")))
    file = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    save_detector(file, info.build(), info)
    return file


def refused(file: Path) -> str:
    """The message of `load_weights`, on its one line."""
    with pytest.raises(UserError) as refusal:
        load_weights(file)
    message = str(refusal.value)
    assert message.startswith(f"{printable(str(file))}: ") and "\n" not in message and len(message) < 600
    return message


def space(*parts: Any) -> str:
    return json.dumps(parts)


def detector(**changes: Any) -> str:
    return json.dumps(SETTINGS["retinanet"]().model_dump(mode="json") | changes)


METADATA: list[dict[str, object]] = [
    {"space": space("toy", 4, [8, 16, 24, 32], [BLOCKS, 1, 2, 1]), "architecture": "0" * BLOCKS + " 0 00 0"},
    {"space": space("toy", 4, [8, 16, 24, 32], [197, 1, 2, 1]), "architecture": "0" * 197 + " 0 00 0"},
    {"space": space("toy", 4, [8, 16, 24, 32], [196, 1, 2, 1]), "architecture": "0" * 196 + " 0 00 0"},
    {"space": space("toy", 4, [8, 16, 24, 2**40], [2, 1, 2, 1])},
    {"space": space("toy", 4, [8] * 10**5, [1] * 10**5)},
    {"space": space("toy", 4, [8.0, 16, 24, 32], [2, 1, 2, 1])},
    {"space": space("toy", True, [8, 16, 24, 32], [2, 1, 2, 1])},
    {"space": space("toy", "4", [8, 16, 24, 32], [2, 1, 2, 1])},
    {"space": space("../../toy", 4, [8, 16, 24, 32], [2, 1, 2, 1])},
    {"space": space(EVIL, 4, [8, 16, 24, 32], [2, 1, 2, 1])},
    {"space": space("t" * 10**6, 4, [8, 16, 24, 32], [2, 1, 2, 1])},
    {"space": space("\ud800", 4, [8, 16, 24, 32], [2, 1, 2, 1])},
    {"space": space({}, 4, [8, 16, 24, 32], [2, 1, 2, 1])},
    {"space": f'["toy", {MUCH}, [8], [1]]'},
    {"space": '["toy", NaN, [8], [1]]'},
    {"space": "[" * 100_000},
    {"layout": space("resnet", None, [])},
    {"layout": space(EVIL, None, [])},
    {"layout": space("shufflenet", 8, [])},
    {"layout": space("shufflenet", True, [])},
    {"layout": space("efficientnet-lite", None, [])},
    {"layout": space("efficientnet-lite", 2**40, [])},
    {"layout": space("shufflenet", None, [2, 2, 3, 2])},
    {"layout": space("shufflenet", None, [2, 2, 2])},
    {"layout": space("shufflenet", None, [1, 2, 2, 2])},
    {"layout": space("shufflenet", None, [2] * 10**5)},
    {"layout": space("shufflenet", None)},
    {"layout": "7"},
    {"ops": json.dumps(["a" * 10**6 + ":b"])},
    {"ops": json.dumps(["os:system"])},
    {"ops": json.dumps(["shuffle3"] * 10**4)},
    {"ops": json.dumps(["%s", "{0}", "shuffle5", "xception"])},
    {"ops": json.dumps([3, 4, 5, 6])},
    {"architecture": EVIL},
    {"architecture": None, "shuffle": EVIL},
    {"architecture": "99 9 99 9"},
    {"shuffle": EVIL},
    {"detector": detector(fpn_channels=2**30)},
    {"detector": detector(min_size=10**12, max_size=10**12)},
    {"detector": detector(anchor_ratios=[1.0] * 10**5)},
    {"detector": detector(image_mean=[float("nan")] * 3)},
    {"detector": detector(type=EVIL)},
    {"detector": detector(type=["a"] * 10**5)},
    {"detector": detector(anchor_sizes="auto")},
    {"detector": detector(detections=0)},
    {"detector": f'{{"type": "retinanet", "detections": {MUCH}}}'},
    {"detector": '{"type": "retinanet", "type": "fpn"}'},
    {"detector": "[]"},
    {"detector": "7"},
    {"categories": json.dumps([[i, "a"] for i in range(10**5 + 1)])},
    {"categories": json.dumps([[i, "a"] for i in range(10**4)])},
    {"categories": json.dumps([[1, "a" * 10**6], [2, "b"]])},
    {"categories": json.dumps([[10**200, "a"], [2, "b"]])},
    {"categories": f'[[{MUCH}, "a"], [2, "b"]]'},
    {"categories": json.dumps([[1.5, "a"], [2, "b"]])},
    {"categories": json.dumps([["1", "a"], [2, "b"]])},
    {"categories": json.dumps([[1, None], [2, "b"]])},
    {"categories": "[]"},
    {"categories": "{}"},
    {"seed": MUCH},
    {"seed": "-1"},
    {"seed": "1_0"},
    {"seed": "٣"},
    {"data": '{"val": "a\\u0000b"}'},
    {"data": '{"val": 3}'},
    {"data": json.dumps({"val": ["a"] * 10**5})},
    {"versions": "[]"},
    {"unknown": "x"},
    {"format": None},
    {"format": "detnas-detector-" + MUCH},
]


@pytest.mark.parametrize("metadata", METADATA, ids=range(len(METADATA)))
def test_metadata_that_cannot_be_are_refused_in_one_line(
    metadata: dict[str, object], whole: Path, tmp_path: Path
) -> None:
    file = rewrite(whole, tmp_path / "evil.safetensors", metadata)
    tracemalloc.start()
    try:
        refused(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6


def test_sound_metadata_are_read_without_a_digest(whole: Path, tmp_path: Path) -> None:
    """Files of earlier versions have none."""
    file = rewrite(whole, tmp_path / "old.safetensors", {"seed": "7"})
    assert not is_intact(file)  # as every file of this version has a digest
    model, info = load_weights(file)
    assert isinstance(info, DetectorInfo) and info.seed == 7
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*map(values, (model, load_weights(whole)[0]))))  # noqa: B905


def values(model: torch.nn.Module) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def test_a_category_that_looks_like_the_digest_is_a_category(tmp_path: Path) -> None:
    names = ((1, "0" * 64), (2, f'"sha256":"{"0" * 64}"'))
    info = DetectorInfo(SPACE, ARCHITECTURES[1], SETTINGS["retinanet"](), names)
    save_detector(tmp_path / "a.safetensors", info.build(), info)
    assert is_intact(tmp_path / "a.safetensors")
    assert load_weights(tmp_path / "a.safetensors")[1] == info


STEM = "backbone.body.stem.0.weight"


def place(header: Tree, first: int, last: int) -> None:
    header[STEM]["data_offsets"] = [first, last]


CHANGES: dict[str, Callable[[Tree], object]] = {
    "another shape": lambda header: header[STEM].update(shape=[2**20, 2**20, 3, 3]),
    "a shape of as many values": lambda header: header[STEM].update(shape=header[STEM]["shape"][::-1]),
    "another type": lambda header: header[STEM].update(dtype="I32"),
    "an unknown type": lambda header: header[STEM].update(dtype="F4"),
    "a size of thousands of digits": lambda header: header[STEM].update(shape=[10**4000]),
    "negative sizes": lambda header: header[STEM].update(shape=[-4, -3, 3, 3]),
    "a hundred axes": lambda header: header[STEM].update(shape=[1] * 100),
    "offsets beyond the file": lambda header: place(header, 2**40, 2**40 + 432),
    "offsets that overlap": lambda header: place(header, 0, 432),
    "offsets that run backwards": lambda header: place(header, 432, 0),
    "no offsets": lambda header: header[STEM].pop("data_offsets"),
    "more keys": lambda header: header[STEM].update(more=1),
    "a tensor missing": lambda header: header.pop(STEM),
    "a tensor renamed": lambda header: header.update(other=header.pop(STEM)),
    "an empty tensor more": lambda header: header.update(other={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
    "metadata that are no texts": lambda header: header["__metadata__"].update(seed=7),
    "a list for the metadata": lambda header: header.update(__metadata__=[]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tensors_that_are_not_as_the_header_says_are_refused_in_one_line(
    change: str, whole: Path, tmp_path: Path
) -> None:
    refused(rewrite(whole, tmp_path / "evil.safetensors", {}, CHANGES[change]))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b"[]",
        b'{"a": 1, "a": 2}',
        b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1e400], "data_offsets": [0, 4]}}',
        b'{"a": ' * 10**5,
        b"[" * 10**6,
        b"\xff" * 100,
        b'{"__metadata__": {"format": "detnas-detector-1"}}',
    ],
    ids=range(10),
)
def test_headers_that_are_none_are_refused_in_one_line(header: bytes, tmp_path: Path) -> None:
    file = write_parts(tmp_path / "evil.safetensors", header, b"")
    refused(file)


def test_what_is_no_regular_file_or_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    for name in ("pipe", "huge", "a" * 300, "a\0b"):
        refused(tmp_path / name)
        assert not is_intact(tmp_path / name)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_anywhere_is_one_line(data: st.DataObject, whole: Path, tmp_path_factory: Any) -> None:
    content = bytearray(whole.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    ends = st.sampled_from([8, header, len(content)])
    bit = data.draw(ends.flatmap(lambda end: st.integers(0, 8 * end - 1)))
    content[bit // 8] ^= 1 << bit % 8
    file = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    file.write_bytes(content)
    assert not is_intact(file)
    refused(file)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:100]])
def test_a_file_that_is_cut_or_longer_is_not_intact(
    change: Callable[[bytes], bytes], whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut").write_bytes(change(whole.read_bytes()))
    assert is_intact(whole) and not is_intact(tmp_path / "cut") and not is_intact(tmp_path / "missing")
    refused(tmp_path / "cut")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(max_size=8),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=8), one, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_drawn_change_of_the_metadata_gives_a_sound_value_or_one_line(
    data: st.DataObject, whole: Path, tmp_path_factory: Any
) -> None:
    texts = read_parts(whole)[0]["__metadata__"]
    key = data.draw(st.sampled_from([key for key in sorted(texts) if key != "sha256"]))
    try:
        tree = json.loads(texts[key])
    except ValueError:
        drawn = data.draw(st.text())
    else:
        drawn = data.draw(st.text() | mutations(tree).map(json.dumps))
    file = rewrite(whole, tmp_path_factory.getbasetemp() / "drawn.safetensors", {key: drawn})
    try:
        _, info = load_weights(file)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        compile(definition(info), "backbone.py", "exec")  # whatever is accepted can be exported


def mutations(tree: Any) -> st.SearchStrategy[Any]:
    """Trees in which one value is another."""
    if not tree or not isinstance(tree, list | dict):
        return JSON
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))

    def changed(key: Any) -> st.SearchStrategy[Any]:
        def put(value: Any) -> Any:
            copy = tree.copy()
            copy[key] = value
            return copy

        return mutations(tree[key]).map(put)

    return JSON | st.sampled_from(keys).flatmap(changed)
