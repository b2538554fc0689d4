"""The weights file: what was saved comes back, and nothing else is taken for it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import TESTS
from safetensors import safe_open
from safetensors.torch import save_file
from small_models import ARCHITECTURES, SETTINGS, SPACE, random_images

from detnas.config import OFFICIAL_INPUT, DataSettings, FPNSettings, RetinaNetSettings, ShapesSettings
from detnas.models.backbone import find_backbone
from detnas.models.create import create_backbone
from detnas.models.detectors.build import Detector, build_detector
from detnas.models.detectors.detect import detect
from detnas.models.supernet import Supernet, extract_subnet
from detnas.models.weights import (
    BackboneInfo,
    DetectorInfo,
    load_detector,
    load_weights,
    save_backbone,
    save_detector,
)
from detnas.spaces import Architecture, SearchSpace
from detnas.utils.errors import UserError
from detnas.version import __version__

CPU = torch.device("cpu")
CATEGORIES = ((2**64, "Fußgänger"), (-3, "a, b"), (17, '"'))


def make(kind: str) -> tuple[Detector, DetectorInfo]:
    torch.manual_seed(0)
    data = DataSettings(val="a.json", val_fraction=0.3, bad_boxes="drop")
    info = DetectorInfo(SPACE, ARCHITECTURES[1], SETTINGS[kind](norm="batch"), CATEGORIES, data=data, seed=7)
    detector = info.build()
    for name, tensor in detector.state_dict().items():
        if name.endswith("running_mean"):
            tensor.uniform_(-0.1, 0.1)
    return detector.eval(), info


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_a_detector_comes_back_as_it_was(kind: str, memory_format: torch.memory_format, tmp_path: Path) -> None:
    detector, info = make(kind)
    detector.to(memory_format=memory_format)
    save_detector(tmp_path / "new" / "detector.safetensors", detector, info)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["detector.safetensors"]
    loaded, its_info = load_detector(tmp_path / "new" / "detector.safetensors")
    assert its_info == info
    assert not loaded.training and type(loaded) is type(detector)
    before, after = detector.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    images = [(image * 255).to(torch.uint8) for image in random_images((64, 80))]
    (first,), (second,) = detect(detector, images, CPU), detect(loaded, images, CPU)
    np.testing.assert_allclose(first.scores, second.scores, rtol=1e-4, atol=1e-6)


def test_the_metadata_say_what_it_is(tmp_path: Path) -> None:
    detector, info = make("fpn")
    save_detector(tmp_path / "a.safetensors", detector, info)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["architecture"] == "13 2 03 3"
    assert [tuple(entry) for entry in json.loads(metadata["categories"])] == list(CATEGORIES)
    assert json.loads(metadata["versions"])["detnas"] == __version__
    assert json.loads(metadata["detector"])["image_mean"] == list(info.settings.image_mean)


def test_the_shuffle_comes_back(tmp_path: Path) -> None:
    """Weights computed with under the other shuffle are worth nothing, and nothing else would tell."""
    torch.manual_seed(0)
    settings = SETTINGS["retinanet"]()
    supernet = build_detector(Supernet(SPACE, "interleave"), len(CATEGORIES), settings)
    detector = extract_subnet(supernet, ARCHITECTURES[1]).eval()
    info = DetectorInfo(SPACE, ARCHITECTURES[1], settings, CATEGORIES, shuffle="interleave")
    save_detector(tmp_path / "a.safetensors", detector, info)
    loaded, its_info = load_detector(tmp_path / "a.safetensors")
    assert its_info.shuffle == find_backbone(loaded).shuffle == "interleave"
    image = random_images((64, 64))[0][None]
    with torch.no_grad():
        maps = zip(find_backbone(detector)(image), find_backbone(loaded)(image), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in maps)


MOBILE = SearchSpace("toy-mobile", 8, (8, 12, 16), (1, 2, 1), ("mbconv3_k5", "skip"), (2, 1, 2), 4, "efficientnet-lite")


@pytest.mark.parametrize(
    ("space", "architecture"),
    [(SPACE, ARCHITECTURES[1]), (SPACE, None), (MOBILE, Architecture.parse("0 01 0")), (MOBILE, None)],
    ids=["subnet", "supernet", "mobile subnet", "mobile supernet"],
)
def test_a_backbone_comes_back_as_it_was(space: SearchSpace, architecture: Architecture | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    info = BackboneInfo(space, architecture, OFFICIAL_INPUT, "interleave")
    backbone = info.build()
    save_backbone(tmp_path / "a.safetensors", backbone, info)
    loaded, its_info = load_weights(tmp_path / "a.safetensors")
    assert its_info == info and not loaded.training and type(loaded) is type(backbone)
    assert loaded.shuffle == "interleave"
    before, after = backbone.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    opened = create_backbone(tmp_path / "a.safetensors")
    assert type(opened) is type(backbone) and opened.channels == backbone.channels
    # Files of the paper's spaces are as they were before there were others.
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert ("layout" in file.metadata(), "ops" in file.metadata()) == (space is MOBILE, space is MOBILE)
    with pytest.raises(UserError, match="holds a backbone alone, which detects nothing"):
        load_detector(tmp_path / "a.safetensors")


def test_a_supernets_detector_comes_back_but_detects_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    info = DetectorInfo(SPACE, None, SETTINGS["fpn"](), CATEGORIES)
    save_detector(file, info.build(), info)
    loaded, its_info = load_weights(file)
    assert its_info == info and isinstance(find_backbone(loaded), Supernet)
    with pytest.raises(UserError, match="holds a supernet's detector"):
        load_detector(file)


def test_a_retinanet_from_before_there_was_a_choice_has_torchvisions_losses(tmp_path: Path) -> None:
    detector, info = make("retinanet")
    save_detector(tmp_path / "new.safetensors", detector, info)
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    settings = json.loads(metadata["detector"])
    assert settings.pop("losses") == "paper"
    del metadata["sha256"]
    save_file(tensors, tmp_path / "old.safetensors", metadata | {"detector": json.dumps(settings)})
    _, its_info = load_detector(tmp_path / "old.safetensors")
    assert its_info == replace(info, settings=SETTINGS["retinanet"](norm="batch", losses="torchvision"))


def test_a_file_that_lost_something_is_refused(tmp_path: Path) -> None:
    detector, info = make("retinanet")
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    save_detector(whole, detector, info)
    with safe_open(whole, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del metadata["sha256"]  # it would be refused for that alone
    some_tensor = "backbone.body.stem.0.weight"
    for changed_metadata, changed_tensors in (
        ({key: value for key, value in metadata.items() if key != "space"}, tensors),
        (metadata | {"space": "[1, 2"}, tensors),
        (metadata | {"architecture": "13 2 03"}, tensors),
        (metadata | {"detector": '{"type": "yolo"}'}, tensors),
        (metadata | {"shuffle": "riffle"}, tensors),
        (metadata | {"data": '{"val_fraction": 2}'}, tensors),
        (metadata | {"seed": "x"}, tensors),
        (metadata | {"categories": '[[1, "a"]]'}, tensors),
        (metadata, {name: tensor for name, tensor in tensors.items() if name != some_tensor}),
        (metadata, tensors | {some_tensor: torch.zeros(1)}),
        (metadata, tensors | {"backbone.body.new": torch.zeros(1)}),
    ):
        save_file(changed_tensors, broken, changed_metadata)
        with pytest.raises(UserError) as refusal:
            load_detector(broken)
        assert str(broken) in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_file_of_an_earlier_version_has_the_usual_data_settings(tmp_path: Path) -> None:
    detector, info = make("retinanet")
    save_detector(tmp_path / "new.safetensors", detector, info)
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    old = {key: value for key, value in metadata.items() if key not in ("data", "seed", "sha256")}
    save_file(tensors, tmp_path / "old.safetensors", old)
    _, its_info = load_detector(tmp_path / "old.safetensors")
    assert its_info == replace(info, data=DataSettings(), seed=0)


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").touch()
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickle")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    for name in ("text", "empty", "pickle", "foreign", "missing", "."):
        with pytest.raises(UserError) as refusal:
            load_detector(tmp_path / name)
        assert str(tmp_path / name) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("format", ["detnas-detector-2", "detnas-backbone-0"])
def test_a_file_of_another_version_is_refused_with_its_format(format: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other", {"format": format})
    with pytest.raises(UserError) as refusal:
        load_weights(tmp_path / "other")
    assert str(refusal.value) == (
        f"{tmp_path / 'other'}: written by another version of detnas (its format is {format}, and this version reads "
        "detnas-detector-1 and detnas-backbone-1); install the version of detnas that wrote it"
    )


@pytest.mark.parametrize("kind", ["fpn", "retinanet", "backbone"])
def test_files_of_the_first_edition_are_read(kind: str, tmp_path: Path) -> None:
    """By their metadata on record; the tensors have the same names."""
    metadata = json.loads((TESTS / "fixtures" / "weights_metadata.json").read_text())[kind]
    if kind == "backbone":
        info: BackboneInfo | DetectorInfo = BackboneInfo(SPACE, None, OFFICIAL_INPUT, "interleave")
    else:
        data = DataSettings(shapes=ShapesSettings(train=24), val="a.json")
        settings = {"fpn": FPNSettings, "retinanet": RetinaNetSettings}[kind](min_size=64, max_size=96)
        info = DetectorInfo(SPACE, ARCHITECTURES[1], settings, ((3, "a"), (5, "b")), data=data, seed=7)
    tensors = {name: tensor.contiguous() for name, tensor in info.build().state_dict().items()}
    save_file(tensors, tmp_path / "old.safetensors", metadata)
    assert load_weights(tmp_path / "old.safetensors")[1] == info


def test_an_info_without_a_shuffle_means_that_of_the_published_networks() -> None:
    _, info = make("fpn")
    assert info.shuffle == find_backbone(info.build()).shuffle == "even_odd"
    assert find_backbone(replace(info, shuffle="interleave").build()).shuffle == "interleave"
