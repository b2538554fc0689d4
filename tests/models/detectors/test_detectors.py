"""The two detectors beyond what every detector must do: their labels, norms, levels and settings."""

from itertools import product

import numpy as np
import pytest
import torch
from small_models import ARCHITECTURES, NUM_CLASSES, SETTINGS, SPACE, fpn, random_images, retinanet, targets
from torch import nn
from torchvision.models.detection import FasterRCNN

from detnas.config import FPNSettings, RetinaNetSettings
from detnas.models.backbone import Backbone, Subnet, find_backbone
from detnas.models.detectors.build import Detector, build_detector, first_label
from detnas.models.detectors.detect import detect
from detnas.models.detectors.fpn import BoxHead

CPU = torch.device("cpu")

BOXES = [[4, 6, 30, 40], [20, 20, 60, 50], [50, 2, 61, 13]]


def build(kind: str, backbone: Backbone | None = None, **changes: object) -> Detector:
    torch.manual_seed(0)
    return build_detector(backbone or Subnet(SPACE, ARCHITECTURES[1]), NUM_CLASSES, SETTINGS[kind](**changes))


def losses(detector: Detector, *boxes: list[list[float]]) -> dict[str, torch.Tensor]:
    images = random_images(*[(64, 80), (70, 64), (64, 64)][: len(boxes)])
    return detector.train()(images, targets(first_label(detector), *boxes))


# Training


@pytest.mark.parametrize("boxes", [(BOXES, BOXES), (BOXES, []), ([], [])], ids=["all", "one-empty", "both-empty"])
@pytest.mark.parametrize(("kind", "norm"), list(product(SETTINGS, ["none", "batch", "group"])))
def test_every_parameter_learns(kind: str, norm: str, boxes: tuple[list[list[float]], ...]) -> None:
    detector = build(kind, norm=norm)
    parts = losses(detector, *boxes)
    assert all(torch.isfinite(value) for value in parts.values()), parts
    torch.stack(list(parts.values())).sum().backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


# Detecting


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize("count", [0, 1, 2 * BoxHead.REGIONS + 1])
def test_a_box_head_answers_parts_as_it_does_the_whole(norm: str, count: int) -> None:
    head = build("fpn", norm=norm).roi_heads.box_head.eval()
    regions = torch.randn(count, 16, 7, 7, generator=torch.Generator().manual_seed(0))
    widths = []
    head[0].register_forward_hook(lambda _, inputs, output: widths.append(len(inputs[0])))
    whole = nn.Sequential.forward(head, regions)
    torch.testing.assert_close(head(regions), whole, rtol=1e-5, atol=1e-6)
    assert widths[0] == count and max(widths[1:]) <= BoxHead.REGIONS


def favor(detector: Detector, label: int) -> None:
    """Make `detector` answer the class `label` (from 0) everywhere."""
    if isinstance(detector, FasterRCNN):
        layer, place = detector.roi_heads.box_predictor.cls_score, [label + first_label(detector)]
    else:
        layer = detector.head.classification_head.cls_logits
        anchors = detector.head.classification_head.num_anchors
        place = [anchor * NUM_CLASSES + label + first_label(detector) for anchor in range(anchors)]
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(-5)
        layer.bias[place] = 5


@pytest.mark.parametrize("label", range(NUM_CLASSES))
@pytest.mark.parametrize("kind", SETTINGS)
def test_labels_are_the_same_in_training_and_detecting(kind: str, label: int) -> None:
    """A detector that always answers a class detects that class, and pays least where that is the class to learn."""
    detector = build(kind)
    favor(detector, label)
    classification = "loss_classifier" if kind == "fpn" else "classification"
    paid = []
    for taught in range(NUM_CLASSES):
        target = {"boxes": torch.tensor(BOXES[:1]).float(), "labels": torch.tensor([taught + first_label(detector)])}
        torch.manual_seed(2)
        with torch.no_grad():
            paid.append(float(detector.train()(random_images((64, 64)), [target])[classification]))
    assert paid.index(min(paid)) == label
    (found,) = detect(detector.eval(), [torch.zeros(3, 64, 64, dtype=torch.uint8)], CPU)
    assert set(found.labels[found.scores > 0.5].tolist()) == {label}


# The parts


def norms(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d | nn.GroupNorm)]


def outside_backbone(detector: Detector) -> int:
    return len(norms(detector)) - len(norms(find_backbone(detector)))


def test_the_papers_fpn_is_normalized_in_pyramid_and_box_convolutions_only() -> None:
    detector = build_detector(Subnet(SPACE, ARCHITECTURES[0]), 80, FPNSettings())
    pyramid, head = detector.backbone.pyramid, detector.roi_heads.box_head
    assert [len(norms(block)) for block in (*pyramid.inner_blocks, *pyramid.layer_blocks)] == [1] * 8
    assert not [part for part in pyramid.modules() if isinstance(part, nn.ReLU)]
    assert norms(detector.rpn) == []
    kinds = [type(part).__name__ for part in head.modules() if not list(part.children())]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 4 + ["Flatten", "Linear", "ReLU"]
    assert outside_backbone(detector) == 8 + 4
    assert {type(norm) for norm in norms(detector)} == {nn.BatchNorm2d}


def test_the_papers_retinanet_is_normalized_in_the_backbone_only() -> None:
    detector = build_detector(Subnet(SPACE, ARCHITECTURES[0]), 80, RetinaNetSettings())
    assert outside_backbone(detector) == 0
    for tower in (detector.head.classification_head, detector.head.regression_head):
        assert len([part for part in tower.conv.modules() if isinstance(part, nn.Conv2d)]) == 4


@pytest.mark.parametrize(("kind", "places"), [("fpn", 8 + 4), ("retinanet", 6 + 8)])
def test_the_norm_that_is_asked_for_stands_in_all_places(kind: str, places: int) -> None:
    for norm, wanted in (("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)):
        detector = build(kind, norm=norm)
        own = set(map(id, norms(find_backbone(detector))))
        outside = [part for part in norms(detector) if id(part) not in own]
        assert [type(part) for part in outside] == [wanted] * places
    assert outside_backbone(build(kind, norm="none")) == 0


def test_the_papers_settings_reach_torchvision() -> None:
    detector = build_detector(Subnet(SPACE, ARCHITECTURES[0]), 80, FPNSettings())
    heads = detector.roi_heads
    assert detector.rpn.pre_nms_top_n() == 2000 and detector.eval().rpn.pre_nms_top_n() == 1000
    assert detector.rpn.nms_thresh == 0.7
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.05, 0.5, 100)
    assert (heads.fg_bg_sampler.batch_size_per_image, heads.fg_bg_sampler.positive_fraction) == (512, 0.25)
    assert heads.box_roi_pool.output_size == (7, 7) and heads.box_roi_pool.sampling_ratio == 2
    assert heads.box_predictor.cls_score.out_features == 81
    assert detector.rpn.anchor_generator.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert detector.transform.min_size == (800,) and detector.transform.max_size == 1333

    detector = build_detector(Subnet(SPACE, ARCHITECTURES[0]), 80, RetinaNetSettings())
    assert (detector.score_thresh, detector.nms_thresh, detector.topk_candidates) == (0.05, 0.4, 1000)
    assert detector.head.classification_head.cls_logits.out_channels == 9 * 80
    assert [len(sizes) for sizes in detector.anchor_generator.sizes] == [3] * 5


def pyramid_maps(detector: Detector) -> list[tuple[str, tuple[int, ...]]]:
    with torch.no_grad():
        maps = detector.eval().backbone(torch.rand(1, 3, 128, 256))
    return [(name, tuple(x.shape[1:])) for name, x in maps.items()]


def test_the_pyramid_has_its_levels() -> None:
    assert pyramid_maps(build("fpn")) == [
        ("4", (16, 32, 64)),
        ("8", (16, 16, 32)),
        ("16", (16, 8, 16)),
        ("32", (16, 4, 8)),
        ("pool", (16, 2, 4)),
    ]
    assert pyramid_maps(build("retinanet"))[:3] == [("8", (16, 16, 32)), ("16", (16, 8, 16)), ("32", (16, 4, 8))]
    assert [shape for _, shape in pyramid_maps(build("retinanet"))[3:]] == [(16, 2, 4), (16, 1, 2)]
    assert len(pyramid_maps(build("retinanet", extra_levels=0, anchor_sizes=(8, 16, 32)))) == 3
    assert [name for name, _ in pyramid_maps(build("fpn", strides=(8, 32), anchor_sizes=(8, 16, 32)))] == [
        "8",
        "32",
        "pool",
    ]


def test_levels_beyond_the_backbone_come_from_p5() -> None:
    extra = build("retinanet").backbone.pyramid.extra_blocks
    assert extra.use_P5


@pytest.mark.parametrize("convolutions", [1, 3])
def test_towers_are_as_deep_as_asked(convolutions: int) -> None:
    detector = build_detector(Subnet(SPACE, ARCHITECTURES[0]), 2, retinanet(head_convs=convolutions))
    for tower in (detector.head.classification_head, detector.head.regression_head):
        assert len([part for part in tower.conv.modules() if isinstance(part, nn.Conv2d)]) == convolutions
    detector = build_detector(Subnet(SPACE, ARCHITECTURES[0]), 2, fpn(box_convs=convolutions))
    head = detector.roi_heads.box_head
    assert len([part for part in head.modules() if isinstance(part, nn.Conv2d)]) == convolutions


@pytest.mark.parametrize("geometry", ["torchvision", "maskrcnn-benchmark"])
def test_what_is_found_does_not_hang_on_the_image_that_came_first(geometry: str) -> None:
    """torchvision infers the maps' scales from the first one it meets. The second is padded by half its height."""
    images = [(image * 255).to(torch.uint8) for image in random_images((64, 45), (45, 64))]
    fresh, used = (build("fpn", min_size=45, max_size=64, geometry=geometry).eval() for _ in range(2))
    detect(used, images[:1], CPU)
    (first,), (second,) = detect(fresh, images[1:], CPU), detect(used, images[1:], CPU)
    np.testing.assert_array_equal(first.scores, second.scores)
