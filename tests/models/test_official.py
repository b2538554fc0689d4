"""Official weights come in: their outputs, their boxes, and what is refused."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import official_reference as reference
import pytest
import torch
from paths import TESTS

from detnas import import_official
from detnas.config import OFFICIAL_INPUT
from detnas.models.backbone import Backbone, Subnet, find_backbone
from detnas.models.detectors.build import first_label
from detnas.models.official import CLASSIFIER, official_categories, read_official
from detnas.models.official_names import backbone_names
from detnas.models.preprocessing import normalize
from detnas.models.supernet import Supernet, extract_subnet
from detnas.spaces import Architecture, SearchSpace, search_space
from detnas.spaces.published import PUBLISHED
from detnas.utils.errors import UserError

FIXTURES = TESTS / "fixtures"
SPACE = SearchSpace("official", reference.STEM, reference.CHANNELS, reference.REPEATS)
ARCHITECTURE = Architecture.parse("21 30 03 12")


def fixture(name: str) -> Any:
    file = FIXTURES / name
    return json.loads(file.read_text()) if file.suffix == ".json" else dict(np.load(file))


def load(name: str, **settings: Any) -> tuple[Backbone, dict[str, np.ndarray]]:
    """The fixture's network on its path, and the fixture."""
    stored = fixture(f"official_{name}.npz")
    meta = json.loads(stored["meta"].tobytes())
    space = SearchSpace("official", meta["stem"], tuple(meta["channels"]), tuple(meta["repeats"]))
    architecture = space.architecture(meta["architecture"])
    tensors = {key[2:]: torch.from_numpy(value) for key, value in stored.items() if key.startswith("w/")}
    network = import_official(tensors, space if meta["supernet"] else (space, architecture), **settings)
    if isinstance(network, Supernet):
        network.activate(architecture)
    return network, stored


def is_official(network: Backbone, stored: dict[str, np.ndarray]) -> bool:
    with torch.no_grad():
        maps = network(torch.from_numpy(stored["input"]))
    pairs = [(ours.numpy(), stored[f"out/{stage}"]) for stage, ours in enumerate(maps)]
    assert len(pairs) == 4 and all(ours.shape == theirs.shape for ours, theirs in pairs)
    return all(np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max() for ours, theirs in pairs)


# Backbones and supernets


@pytest.mark.parametrize(
    ("name", "settings"),
    [("single_even_odd", {}), ("single_interleave", {"shuffle": "interleave"}), ("supernet_interleave", {})],
)
def test_outputs_equal_those_of_the_official_blocks(name: str, settings: dict[str, Any]) -> None:
    network, stored = load(name, **settings)
    assert not network.training and is_official(network, stored)
    if isinstance(network, Supernet):
        meta = json.loads(stored["meta"].tobytes())
        assert is_official(network.subnet(network.space.architecture(meta["architecture"])), stored)


@pytest.mark.parametrize(
    ("name", "settings"), [("single_interleave", {}), ("supernet_interleave", {"shuffle": "even_odd"})]
)
def test_the_official_fixtures_tell_the_shuffles_apart(name: str, settings: dict[str, Any]) -> None:
    assert not is_official(*load(name, **settings))


OFFICIAL_MODELS = {
    "DETNAS-COCO-FPN-300M": "detnas-fpn-300m",
    "DETNAS-COCO-RetinaNet-300M": "detnas-retinanet-300m",
    "DETNAS-COCO-FPN-1.3G": "detnas-fpn-1.3g",
    "DETNAS-COCO-FPN-3.8G": "detnas-fpn-3.8g",
    "DETNAS-COCO-FPN-300M-search": "small-supernet",
    "DETNAS-COCO-FPN-1.3G-search": "large-supernet",
}


@pytest.mark.parametrize("name", OFFICIAL_MODELS)
def test_released_networks_have_as_many_tensors_as_ours(name: str) -> None:
    ours = OFFICIAL_MODELS[name]
    with torch.device("meta"):
        if ours in PUBLISHED:
            network: Subnet | Supernet = Subnet(PUBLISHED[ours].space, PUBLISHED[ours].architecture)
        else:
            network = Supernet(search_space(ours.removesuffix("-supernet")))
        names = backbone_names(network).modules
    keys = {f"{names[module]}.{tensor}" for module, _, tensor in (key.rpartition(".") for key in network.state_dict())}
    assert len(keys) == len(network.state_dict()) == fixture("official_flops.json")["models"][name]["n_keys"]


def backbone_tensors(supernet: bool = False, prefix: str = "") -> tuple[reference.Tensors, list[torch.Tensor]]:
    """Official tensors, and their maps of an image."""
    w = reference.Tensors()
    shuffle = "interleave" if supernet else "even_odd"
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pixels = normalize(image, OFFICIAL_INPUT)
    assert torch.allclose(pixels, image[:, [2, 1, 0]] * 255)
    arguments = (w, pixels, list(ARCHITECTURE.ops), shuffle, prefix, supernet)
    reference.backbone(*arguments)
    w.round()
    return w, reference.backbone(*arguments)


WRAPPERS = [
    ("", lambda w: w),
    ("", lambda w: {"state_dict": {f"module.{key}": tensor for key, tensor in w.items()}, "iteration": 300_000}),
    ("backbone.body.", lambda w: {"model": w, "optimizer": {"state": {}}}),
    ("backbone.", lambda w: {f"module.{key}": tensor for key, tensor in w.items()}),
]


@pytest.mark.parametrize("supernet", [False, True])
@pytest.mark.parametrize(("prefix", "wrap"), WRAPPERS, ids=["bare", "state_dict", "model", "module"])
def test_a_checkpoint_is_read_in_whatever_it_is_wrapped(prefix: str, wrap: Any, supernet: bool, tmp_path: Path) -> None:
    w, expected = backbone_tensors(supernet, prefix)
    torch.save(wrap(dict(w)), tmp_path / "net.pkl")
    network = import_official(tmp_path / "net.pkl", SPACE if supernet else (SPACE, ARCHITECTURE)).double()
    if isinstance(network, Supernet):
        network.activate(ARCHITECTURE)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        maps = network(normalize(image, OFFICIAL_INPUT))
    assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-9) for one, other in zip(maps, expected, strict=True))


def test_the_imagenet_head_is_left_out_and_named() -> None:
    w, _ = backbone_tensors()
    head = {key: torch.zeros(3) for key in CLASSIFIER if not key.startswith("fc.fc")}
    imported = read_official(w | head, (SPACE, ARCHITECTURE))
    assert isinstance(imported.model, Subnet) and set(imported.left_out) == set(head)
    assert imported.info.preprocessing == OFFICIAL_INPUT
    assert read_official(w, (SPACE, ARCHITECTURE)).left_out == ()


def test_counts_of_batches_may_be_missing_as_in_old_files() -> None:
    w, _ = backbone_tensors()
    old = {key: tensor for key, tensor in w.items() if not key.endswith("num_batches_tracked")}
    ours, others = (import_official(tensors, (SPACE, ARCHITECTURE)).state_dict() for tensors in (w, old))
    for key, tensor in ours.items():
        if key.endswith("num_batches_tracked"):
            assert tensor == 7 and others[key] == 0
        else:
            assert torch.equal(tensor, others[key])


# What is refused


def refused(source: Any, name: Any = (SPACE, ARCHITECTURE), **settings: Any) -> str:
    with pytest.raises(UserError) as refusal:
        import_official(source, name, **settings)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 700
    return str(refusal.value)


def test_missing_unknown_and_misshapen_tensors_are_named() -> None:
    w, _ = backbone_tensors()
    stem = "first_conv.conv.bias"
    assert f"1 missing ({stem})" in refused({key: w[key] for key in w if key != stem})
    assert "1 unknown (ema.first_conv.conv.bias)" in refused(w | {"ema.first_conv.conv.bias": w[stem]})
    assert f"1 of another shape ({stem} (3,) instead of (8,))" in refused(w | {stem: torch.zeros(3)})
    assert f"1 of another shape ({stem} () instead of (8,))" in refused(w | {stem: torch.tensor(1.0)})
    # Another architecture: names and shapes differ in every block.
    message = refused(w, (SPACE, Architecture.parse("03 12 21 30")))
    assert "missing (features.0.conv." in message and "unknown (features.0.conv." in message
    other = refused(w, "detnas-fpn-300m")
    assert other.startswith("the state dict, as detnas-fpn-300m: of its tensors ")
    assert other.endswith("give that network's checkpoint, or its name")


def test_supernets_and_single_networks_are_not_taken_for_one_another() -> None:
    single, _ = backbone_tensors()
    supernet, _ = backbone_tensors(supernet=True)
    assert "holds a supernet; name it small-supernet or large-supernet" in refused(supernet)
    assert "holds a single network; name one of detnas-fpn-300m, " in refused(single, SPACE)
    assert "missing" in refused(supernet, "small-supernet")
    assert "'detnas-fpn-300' is unknown; did you mean detnas-fpn-300m?" in refused(single, "detnas-fpn-300")
    assert "space official" in refused(single, (SPACE, Architecture.parse("0 0 0 0")))


class Payload:
    def __reduce__(self) -> Any:
        return print, ("this ran",)


def test_a_file_that_is_no_checkpoint_is_refused_unopened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").touch()
    # Caffe2's way: a pickle of arrays; and one that does something.
    (tmp_path / "caffe2.pkl").write_bytes(pickle.dumps({"blobs": {"conv1_w": np.zeros(3)}}))
    (tmp_path / "payload.pkl").write_bytes(pickle.dumps(Payload()))
    torch.save({"first_conv.conv.weight": Payload()}, tmp_path / "payload.pth")
    for name in ("text.pth", "empty.pth", "caffe2.pkl", "payload.pkl", "payload.pth"):
        assert "no PyTorch checkpoint, or a pickle of more than tensors" in refused(tmp_path / name)
    assert "this ran" not in capsys.readouterr().out and not recwarn.list
    assert "cannot be read" in refused(tmp_path / "nowhere.pth")
    assert "cannot be read" in refused(tmp_path)
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"iteration": 3}, tmp_path / "number.pth")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    assert "holds no state dict" in refused(tmp_path / "list.pth")
    assert "'iteration' is no tensor" in refused(tmp_path / "number.pth")
    assert "no first_conv.conv.weight" in refused(tmp_path / "other.pth")


# Whole detectors


CASES = [("fpn", False, 20), ("fpn", True, 3), ("retinanet", False, 3), ("retinanet", True, 20)]
NAMES = [f"{kind}{'-supernet' if supernet else ''}" for kind, supernet, _ in CASES]


def detector_tensors(kind: str, supernet: bool, num_classes: int) -> tuple[reference.Tensors, torch.Tensor, Any]:
    """Official tensors, an image, and what the official code detects in it."""
    w = reference.Tensors()
    image = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    arguments = (w, kind, image, 2, num_classes, list(ARCHITECTURE.ops), supernet)
    reference.detect(*arguments)
    w.round()
    return w, image, reference.detect(*arguments)


@pytest.mark.parametrize(("kind", "supernet", "num_classes"), CASES, ids=NAMES)
def test_a_detector_detects_what_the_official_code_does(kind: str, supernet: bool, num_classes: int) -> None:
    w, image, (boxes, scores, labels) = detector_tensors(kind, supernet, num_classes)
    assert len(scores) == 100 and len(set(labels)) > 1
    imported = read_official({"model": w}, SPACE if supernet else (SPACE, ARCHITECTURE))
    detector, info = imported.model, imported.info
    assert (
        not detector.training
        and info.settings.type == kind
        and info.build().state_dict().keys() == detector.state_dict().keys()
    )
    if supernet:
        find_backbone(detector).activate(ARCHITECTURE)
    detector.double()
    detector.transform.min_size, detector.transform.max_size = (96,), 128
    with torch.no_grad():
        (found,) = detector([image])
        if supernet:
            (again,) = extract_subnet(detector, ARCHITECTURE)([image])
            assert torch.equal(found["boxes"], again["boxes"])
    np.testing.assert_allclose(found["scores"], scores, atol=1e-6)
    np.testing.assert_array_equal(found["labels"], labels - 1 + first_label(detector))
    # The outermost pixels, edges included: COCO's width is x2 - x1 + 1 of the original image.
    np.testing.assert_allclose(found["boxes"], boxes + np.array([0, 0, 1, 1]), atol=1e-5)


def test_a_detectors_classes_are_those_of_its_data_set() -> None:
    coco, voc = official_categories(80), official_categories(20)
    assert (
        len(coco) == 80
        and coco[0] == (1, "person")
        and coco[11] == (13, "stop sign")
        and coco[-1] == (90, "toothbrush")
    )
    assert [id for id, _ in coco] == sorted({id for id, _ in coco})
    assert len(voc) == 20 and voc[0] == (1, "aeroplane") and voc[-1] == (20, "tvmonitor")
    assert official_categories(2) == ((1, "class 1"), (2, "class 2"))


def test_a_detector_that_lacks_a_part_or_has_other_anchors_is_refused() -> None:
    w, _, _ = detector_tensors("fpn", False, 3)
    del w["roi_heads.box.predictor.cls_score.weight"]
    assert "1 missing (roi_heads.box.predictor.cls_score.weight)" in refused(w)
    w, _, _ = detector_tensors("retinanet", False, 3)
    bias = {key: w[key] for key in w if key != "rpn.head.cls_logits.bias"}
    assert "1 missing (rpn.head.cls_logits.bias)" in refused(bias)
    anchors = "rpn.anchor_generator.cell_anchors.0"
    assert "other anchors" in refused(w | {anchors: w[anchors] * 2})
    assert "1 unknown (roi_heads.mask.weight)" in refused(w | {"roi_heads.mask.weight": torch.zeros(1)})
    first = "rpn.head.cls_tower.0.weight"
    assert "fit no detector (fpn_channels = 3: " in refused(w | {first: torch.zeros(3, 3, 3, 3)})


def test_a_bias_beside_batch_norm_is_taken_up_by_its_mean() -> None:
    w, _, _ = detector_tensors("fpn", False, 3)
    detector = import_official(w, (SPACE, ARCHITECTURE))
    block = detector.backbone.pyramid.inner_blocks[0]
    assert block[0].bias is None
    mean = w["backbone.fpn.fpn_inner1.1.running_mean"] - w["backbone.fpn.fpn_inner1.0.bias"]
    assert torch.allclose(block[1].running_mean.double(), mean, atol=1e-6)
