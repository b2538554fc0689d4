"""Backbones and detectors for use outside a run."""

import re
from pathlib import Path

import pytest
import torch
from small_models import ARCHITECTURES, SETTINGS, SPACE, random_images
from torchvision.models.detection import FasterRCNN, RetinaNet

from detnas.models.backbone import Subnet, find_backbone
from detnas.models.create import create_backbone, create_detector
from detnas.models.weights import DetectorInfo, save_detector
from detnas.spaces import Architecture, search_space
from detnas.spaces.published import NAMES
from detnas.utils.errors import UserError


def test_a_backbone_of_an_architecture() -> None:
    backbone = create_backbone(ARCHITECTURES[1], SPACE)
    assert isinstance(backbone, Subnet) and backbone.architecture == ARCHITECTURES[1]
    small = create_backbone(Architecture.parse("2120 2112 33130031 3132"))
    assert small.space == search_space("small") and small.channels == [64, 160, 320, 640]
    with pytest.raises(UserError, match="space tiny"):
        create_backbone(ARCHITECTURES[1], "tiny")


def test_a_backbone_by_its_published_name() -> None:
    backbone = create_backbone("detnas-fpn-300m")
    assert isinstance(backbone, Subnet) and str(backbone.architecture) == "2120 2112 33130031 3132"
    assert backbone.space == search_space("small") and backbone.channels == [64, 160, 320, 640]


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ("detnas-fpn-300", "did you mean detnas-fpn-300m?"),
        ("DetNAS-RetinaNet-300M", "did you mean detnas-retinanet-300m?"),
        ("resnet5O", "did you mean resnet50?"),
        ("qqqqqq", f"choose one of {', '.join(NAMES)}"),
    ],
)
def test_a_misspelled_name_is_refused_with_the_nearest(wrong: str, remedy: str) -> None:
    with pytest.raises(UserError) as refusal:
        create_backbone(wrong)
    assert str(refusal.value) == f"backbone {wrong!r}: no published network and no file; {remedy}"


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_backbone_out_of_a_weights_file(kind: str, tmp_path: Path) -> None:
    info = DetectorInfo(SPACE, ARCHITECTURES[2], SETTINGS[kind](), ((1, "a"),))
    detector = info.build().eval()
    save_detector(tmp_path / "a.safetensors", detector, info)
    image = random_images((64, 64))[0][None]
    for source in (tmp_path / "a.safetensors", str(tmp_path / "a.safetensors")):
        backbone = create_backbone(source)
        with torch.no_grad():
            maps = zip(backbone(image), find_backbone(detector)(image), strict=True)
            assert all(torch.equal(ours, theirs) for ours, theirs in maps)
    for source in (Path("nowhere.safetensors"), "nowhere.safetensors"):
        with pytest.raises(UserError, match=r"nowhere\.safetensors"):
            create_backbone(source)


@pytest.mark.parametrize(("kind", "expected"), [("fpn", FasterRCNN), ("retinanet", RetinaNet)])
def test_a_detector_around_a_backbone(kind: str, expected: type) -> None:
    backbone = create_backbone(ARCHITECTURES[0], SPACE)
    detector = create_detector(kind, backbone, num_classes=80, fpn_channels=16, min_size=64, max_size=64)
    assert type(detector) is expected and find_backbone(detector) is backbone
    with torch.no_grad():
        assert set(detector.eval()(random_images((64, 64)))[0]) == {"boxes", "scores", "labels"}


def test_a_detector_that_cannot_be_is_refused_in_one_line() -> None:
    backbone = create_backbone(ARCHITECTURES[0], SPACE)
    for kind, settings, words in (
        ("yolo", {}, "fpn, retinanet"),
        ("fpn", {"min_siz": 64}, "detector fpn: unknown key min_siz; did you mean min_size?"),
        ("fpn", {"min_size": "big"}, "detector fpn: min_size = 'big': "),
        ("retinanet", {"anchor_sizes": (32,)}, "detector retinanet: anchor_sizes has 1 entries, but the pyramid has 5"),
        ("retinanet", {"anchor_sizes": "auto"}, "detector.anchor_sizes = 'auto': only a run chooses sizes, by its"),
        ("fpn", {"anchor_sizes": "auto", "strides": (8, 16)}, "training images; give a list of 3 sizes"),
    ):
        with pytest.raises(UserError, match=re.escape(words)) as refusal:
            create_detector(kind, backbone, 80, **settings)
        assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="num_classes 0: must be 1 or more"):
        create_detector("fpn", backbone, 0)
