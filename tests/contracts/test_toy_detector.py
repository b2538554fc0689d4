"""A new detector is one module and one line in the table: a RetinaNet on a single map, through the pipeline."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest
import torch
from detecting import noise
from pydantic import PositiveInt
from small_models import ARCHITECTURES, SPACE
from small_recipe import small_tree
from test_detector_contract import DetectorContract, spread_scores
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.retinanet import RetinaNetHead

import detnas
from detnas.config import DetectorSettings, Recipe, load_recipe
from detnas.config.detector import Strides
from detnas.exporting.check import compare
from detnas.exporting.detectors import DetectorModel, raw_detector, whole_detector
from detnas.models.backbone import Backbone
from detnas.models.detectors import DETECTORS
from detnas.models.detectors.detect import detect
from detnas.models.detectors.pyramid import build_anchors
from detnas.models.detectors.retinanet import export
from detnas.models.detectors.spec import DetectorSpec
from detnas.models.weights import DetectorInfo, load_detector, save_detector
from detnas.spaces import DetectorParts, Size
from detnas.spaces.cost import conv_cost, total
from detnas.utils.errors import UserError


class OneMapSettings(DetectorSettings):
    """RetinaNet on one of the backbone's maps, without a pyramid."""

    BOX_COUNTS = ("candidates",)

    type: Literal["one-map"] = "one-map"
    strides: Strides = (32,)
    anchor_sizes: tuple[PositiveInt, ...] = (24,)
    nms_threshold: float = 0.5
    candidates: PositiveInt = 40

    def parts(self, channels: Mapping[int, int], classes: int, image: Size) -> DetectorParts:
        (stride,), wide, anchors = self.strides, self.fpn_channels, len(self.anchor_ratios)
        layers = [
            conv_cost(weights * out, out, (-(-image[0] // stride), -(-image[1] // stride)), is_normed=False)
            for weights, out in [
                (channels[stride], wide),
                *[(9 * wide, wide)] * 8,
                (9 * wide, anchors * classes),
                (9 * wide, anchors * 4),
            ]
        ]
        return DetectorParts(image, pyramid=layers[0], heads=total(layers[1:]))


class OneMap(nn.Module):
    """A backbone's map of one stride, in as many channels as the head takes."""

    def __init__(self, body: Backbone, settings: OneMapSettings) -> None:
        super().__init__()
        self.body, self.place, self.out_channels = body, body.strides.index(settings.strides[0]), settings.fpn_channels
        self.lateral = nn.Conv2d(body.channels[self.place], settings.fpn_channels, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"0": self.lateral(self.body(images)[self.place])}


def build(backbone: Backbone, num_classes: int, settings: OneMapSettings) -> RetinaNet:
    anchors = build_anchors(settings)
    return RetinaNet(
        OneMap(backbone, settings),
        num_classes=num_classes,
        anchor_generator=anchors,
        head=RetinaNetHead(settings.fpn_channels, anchors.num_anchors_per_location()[0], num_classes),
        topk_candidates=settings.candidates,
        score_thresh=settings.score_threshold,
        nms_thresh=settings.nms_threshold,
        detections_per_img=settings.detections,
    )


def set_sizes(detector: RetinaNet, settings: OneMapSettings) -> None:
    detector.anchor_generator = build_anchors(settings)


ONE_MAP = DetectorSpec(
    settings=OneMapSettings,
    build=build,
    first_label=0,
    towers=lambda settings: [],
    set_sizes=set_sizes,
    export=export,
)
SMALL = {"type": "one-map", "min_size": 64, "max_size": 96, "fpn_channels": 16, "score_threshold": 0.0}


@pytest.fixture(autouse=True)
def _in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "one-map", ONE_MAP)


class TestOneMap(DetectorContract):
    @pytest.fixture
    def settings(self) -> OneMapSettings:
        return OneMapSettings.model_validate(SMALL)


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate(small_tree() | {"detector": SMALL | changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("detector.candidats=3", "unknown key detector.candidats; did you mean detector.candidates?"),
        ("detector.candidates=0", "detector.candidates = 0: input should be greater than 0"),
        ("detector.qqqqqqqq=1", "unknown key detector.qqqqqqqq; known keys: image_mean, "),
        ("detector.strides=[64]", "detector: strides [64] must be a rising choice of 4, 8, 16, 32"),
        ("detector.type=two-maps", "detector.type = 'two-maps': choose one of fpn, retinanet, one-map"),
        ("search.proposals=3", "search.proposals 3: a one-map has no proposals; leave it out, or choose detector.type"),
    ],
)
def test_a_recipe_with_it_is_checked_as_any(changes: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe().model_dump(mode="json")))
    assert load_recipe(file).detector == OneMapSettings.model_validate(SMALL)
    with pytest.raises(UserError) as refusal:
        load_recipe(file, [changes])
    assert str(refusal.value).startswith(f"{file}: {said}") and "\n" not in str(refusal.value)


def test_it_goes_through_the_pipeline(tmp_path: Path) -> None:
    out = detnas.run(recipe(), out=tmp_path / "run")
    detector, info = load_detector(out / "detector.safetensors")
    assert isinstance(info.settings, OneMapSettings) and info.settings == recipe().detector
    assert not detector.training and (out / "report.html").is_file()


@pytest.fixture
def info() -> DetectorInfo:
    settings = OneMapSettings.model_validate(SMALL | {"score_threshold": 0.05})
    return DetectorInfo(SPACE, ARCHITECTURES[0], settings, ((0, "thing"), (1, "other")))


@pytest.mark.parametrize("make", [whole_detector, raw_detector])
def test_it_is_exported(make: Callable[..., DetectorModel], info: DetectorInfo) -> None:
    torch.manual_seed(0)
    detector = info.build().eval()
    spread_scores(detector)
    model = make(detector, info)
    for image in noise():
        (theirs,) = detect(detector, [image], torch.device("cpu"))
        difference = compare(*model.detect([image]), theirs, info.settings)
        assert difference.lone is None and difference.detections > 0


def test_without_its_line_a_weights_file_is_refused(
    info: DetectorInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_detector(tmp_path / "one.safetensors", info.build(), info)
    monkeypatch.delitem(DETECTORS, "one-map")
    with pytest.raises(UserError, match=r"one\.safetensors: damaged, or of another version .*one-map") as refusal:
        load_detector(tmp_path / "one.safetensors")
    assert "\n" not in str(refusal.value)
