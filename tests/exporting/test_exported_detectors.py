"""Whole and raw detectors under ONNX Runtime against the eager ones."""

import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import toy_mobile
from detecting import CATEGORIES, detector, noise
from torch import Tensor, nn

from detnas.config import OFFICIAL_INPUT, FPNSettings, RetinaNetSettings
from detnas.exporting.check import compare
from detnas.exporting.detectors import DetectorModel, _TracedTransform, raw_detector, whole_detector
from detnas.exporting.onnx_model import ABOUT, onnx_model, open_session
from detnas.models.detectors.build import Detector
from detnas.models.detectors.detect import Detections, detect
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.weight_sources.efficientnet_lite import INPUT
from detnas.models.weights import DetectorInfo

CPU = torch.device("cpu")
OFFICIAL = {"geometry": "maskrcnn-benchmark", **OFFICIAL_INPUT.model_dump()}
MOBILE = {"space": toy_mobile.SPACE, "architecture": toy_mobile.ARCHITECTURE, **INPUT.model_dump()}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "fpn": ("fpn", {}),
    "fpn, official": ("fpn", OFFICIAL),
    "retinanet": ("retinanet", {"losses": "torchvision", "norm": "batch"}),
    "retinanet, official": ("retinanet", OFFICIAL),
    "retinanet of three levels": ("retinanet", {"extra_levels": 0, "anchor_sizes": (8, 16, 24), "norm": "group"}),
    "fpn, mobile": ("fpn", MOBILE | {"score_threshold": 0.1}),
    "retinanet, mobile": ("retinanet", MOBILE | {"extra_levels": 0, "anchor_sizes": (8, 16, 24), "norm": "group"}),
}


@pytest.fixture(scope="module", params=KINDS)
def eager(request: pytest.FixtureRequest) -> tuple[Detector, DetectorInfo]:
    kind, changes = KINDS[request.param]
    return detector(kind, **changes)


@pytest.fixture(scope="module")
def whole(eager: tuple[Detector, DetectorInfo]) -> DetectorModel:
    return whole_detector(*eager)


@pytest.fixture(scope="module")
def raw(eager: tuple[Detector, DetectorInfo]) -> DetectorModel:
    return raw_detector(*eager)


def assert_alike(ours: list[Detections], theirs: list[Detections], info: DetectorInfo) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert (one.boxes.dtype, one.scores.dtype, one.labels.dtype) == (np.float32, np.float32, np.int64)
        assert len(other.scores) >= 5 and other.scores.max() - other.scores.min() > 1e-3
        difference = compare(one, other, info.settings)
        assert difference.lone is None
        assert difference.detections >= 0.9 * len(other.scores)  # what is left may be decided by rounding
        assert difference.pixels < 1e-3 and difference.score < 1e-4


@pytest.mark.parametrize("model", ["whole", "raw"])
def test_images_of_any_size(model: str, eager: tuple[Detector, DetectorInfo], request: pytest.FixtureRequest) -> None:
    exported: DetectorModel = request.getfixturevalue(model)
    found = [exported.detect([image])[0] for image in noise()]
    assert_alike(found, [detect(eager[0], [image], CPU)[0] for image in noise()], eager[1])


def test_a_raw_retinanet_takes_batches(eager: tuple[Detector, DetectorInfo], raw: DetectorModel) -> None:
    assert raw.takes_batches == (eager[1].settings.type == "retinanet")
    if raw.takes_batches:
        assert_alike(raw.detect(noise()), detect(eager[0], noise(), CPU), eager[1])


@pytest.mark.parametrize("kind", ["fpn", "retinanet"])
def test_nothing_found_is_no_error(kind: str) -> None:
    eager, info = detector(kind, score_threshold=0.999999)
    (found,) = whole_detector(eager, info).detect([torch.zeros(3, 40, 50, dtype=torch.uint8)])
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.labels.shape == (0,)


def test_the_eager_detector_is_left_as_it_was(
    eager: tuple[Detector, DetectorInfo], whole: DetectorModel, raw: DetectorModel
) -> None:
    info = eager[1]
    assert info.architecture is not None
    fresh, _ = detector(info.settings.type, info.space, info.architecture, **info.settings.model_dump())
    assert type(eager[0].transform) is ImageTransform
    assert not any(module.training for module in eager[0].modules())
    state = fresh.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in eager[0].state_dict().items())


def test_files_say_what_they_are(eager: tuple[Detector, DetectorInfo], whole: DetectorModel) -> None:
    session = onnxruntime.InferenceSession(whole.files[".onnx"])
    about = json.loads(session.get_modelmeta().custom_metadata_map[ABOUT])
    assert about["classes"] == [name for _, name in CATEGORIES]
    assert about["category_ids"] == [id for id, _ in CATEGORIES]
    assert about["architecture"] == str(eager[1].architecture)
    assert about["detector"] == eager[1].settings.model_dump(mode="json")
    assert {"min_size", "max_size", "image_mean", "image_std", "channel_order"} < set(about["detector"])


def test_the_same_detector_is_the_same_file() -> None:
    files = [raw_detector(*detector("retinanet")).files for _ in range(2)]
    assert files[0] == files[1]


class Resized(nn.Module):
    def __init__(self, settings: FPNSettings | RetinaNetSettings) -> None:
        super().__init__()
        self.transform = _TracedTransform(settings).eval()

    def forward(self, image: Tensor) -> Tensor:
        image, _ = self.transform.resize(image)
        return image


@pytest.mark.parametrize(("min_size", "max_size"), [(64, 96), (800, 1333), (96, 96)])
def test_images_become_as_large_as_in_the_eager_model(min_size: int, max_size: int) -> None:
    settings = FPNSettings(min_size=min_size, max_size=max_size)
    axes = {"image": {1: "height", 2: "width"}}
    session = open_session(onnx_model(Resized(settings), (torch.rand(3, 70, 90),), inputs=["image"], axes=axes))
    eager = ImageTransform(settings).eval()
    rng = np.random.default_rng(0)
    for height, width in [(100, 31), (50, 60), (480, 640), *rng.integers(20, 700, (20, 2)).tolist()]:
        image = torch.from_numpy(rng.random((3, height, width), np.float32))
        expected, _ = eager.resize(image)
        (found,) = session.run(None, {"image": image.numpy()})
        assert found.shape == tuple(expected.shape)
        assert np.abs(found - expected.numpy()).max() < 1e-3
