"""The paper's RetinaNet losses against written-out ones."""

import numpy as np
import pytest
import torch
from small_models import ARCHITECTURES, NUM_CLASSES, SPACE, random_images, retinanet, targets
from torchvision.models.detection.image_list import ImageList

from detnas.models.backbone import Subnet
from detnas.models.detectors.build import build_detector
from detnas.models.detectors.retinanet import PaperRetinaNetHead

BOXES = [[4.0, 6, 30, 40], [20, 20, 60, 50], [50, 2, 61, 13]]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    inner = max(0.0, sides[0]) * max(0.0, sides[1])
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return inner / (area[0] + area[1] - inner)


def matches_of(boxes: np.ndarray, anchors: np.ndarray) -> list[int]:
    """For each anchor its target, -1 for background, -2 for neither."""
    overlaps = np.array([[iou(box, anchor) for anchor in anchors] for box in boxes])
    found = []
    for column in overlaps.T if len(boxes) else np.zeros((len(anchors), 1)):
        best = int(column.argmax())
        is_best_of_a_box = len(boxes) and (column == overlaps.max(axis=1)).any()
        found.append(best if column[best] >= 0.5 or is_best_of_a_box else -2 if column[best] >= 0.4 else -1)
    return found


def written_out(boxes: list, labels: list, anchors: np.ndarray, logits: np.ndarray, answers: np.ndarray) -> list[float]:
    focal = regression = positives = 0.0
    for these, classes, scores, found in zip(boxes, labels, logits, answers, strict=True):
        for anchor, match, score, answer in zip(
            anchors, matches_of(these, anchors), 1 / (1 + np.exp(-scores)), found, strict=True
        ):
            if match == -2:
                continue
            for number, p in enumerate(score):
                is_class = match >= 0 and classes[match] == number
                focal += -0.25 * (1 - p) ** 2 * np.log(p) if is_class else -0.75 * p**2 * np.log(1 - p)
            if match >= 0:
                positives += 1
                box, (width, height) = these[match], anchor[2:] - anchor[:2]
                center = (box[:2] + box[2:] - anchor[:2] - anchor[2:]) / 2
                sides = np.log((box[2:] - box[:2]) / (width, height))
                wanted = [10 * center[0] / width, 10 * center[1] / height, 5 * sides[0], 5 * sides[1]]
                for n in np.abs(answer - wanted):
                    regression += n**2 / 0.22 if n < 0.11 else n - 0.055
    return [focal / (positives + len(boxes)), regression / max(1, 4 * positives)]


@pytest.mark.parametrize("boxes", [(BOXES, BOXES[:1]), (BOXES, []), ([], [])], ids=["all", "one-empty", "both-empty"])
def test_the_losses_are_those_of_the_official_code(boxes: tuple[list, list]) -> None:
    torch.manual_seed(0)
    detector = build_detector(Subnet(SPACE, ARCHITECTURES[1]), NUM_CLASSES, retinanet(anchor_scales=(1.0,)))
    head = detector.head
    assert isinstance(head, PaperRetinaNetHead)
    for layer in (head.classification_head.cls_logits, head.regression_head.bbox_reg):
        torch.nn.init.normal_(layer.weight, std=0.3)
    images = torch.stack(random_images((64, 64), (64, 64)))
    wanted = targets(0, *boxes)
    with torch.no_grad():
        features = list(detector.backbone(images).values())
        outputs = head(features)
        anchors = detector.anchor_generator(ImageList(images, [(64, 64)] * 2), features)
        losses = detector.compute_loss(wanted, outputs, anchors)
    expected = written_out(
        [one["boxes"].double().numpy() for one in wanted],
        [one["labels"].tolist() for one in wanted],
        anchors[0].double().numpy(),
        outputs["cls_logits"].double().numpy(),
        outputs["bbox_regression"].double().numpy(),
    )
    assert losses["classification"].item() == pytest.approx(expected[0], rel=1e-4)
    assert losses["bbox_regression"].item() == pytest.approx(expected[1], rel=1e-4)


def test_what_training_wants_is_what_detecting_gives() -> None:
    """The answer that the loss asks for decodes to the target's box."""
    detector = build_detector(Subnet(SPACE, ARCHITECTURES[1]), NUM_CLASSES, retinanet())
    anchors = torch.tensor([[0.0, 0, 32, 16], [10, 10, 20, 40]])
    boxes = torch.tensor([[4.0, 6, 30, 40], [20, 20, 60, 50]])
    wanted = detector.head.regression_head.box_coder.encode_single(boxes, anchors)
    assert torch.allclose(detector.box_coder.decode_single(wanted, anchors), boxes, atol=1e-4)
