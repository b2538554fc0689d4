"""ResNets: torchvision's, to the bit, and counted as torchvision and torch count them."""

import pytest
import torch
from small_models import NUM_CLASSES, SETTINGS, random_images, targets
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model, get_model_weights
from torchvision.models.feature_extraction import create_feature_extractor

from detnas.models.backbone import find_backbone
from detnas.models.classifier import Classifier
from detnas.models.detectors.build import build_detector, first_label
from detnas.models.resnet import ResNet

CLASSES = 1000


@pytest.mark.parametrize("training", [True, False])
def test_the_maps_are_torchvisions(training: bool) -> None:
    theirs = get_model("resnet50", weights=None)
    ours = ResNet("resnet50")
    ours.load_state_dict({name: x for name, x in theirs.state_dict().items() if not name.startswith("fc.")})
    layers = [f"layer{stage}" for stage in range(1, 5)]
    features = create_feature_extractor(theirs, layers).train(training)
    images = torch.rand(2, 3, 64, 33)
    with torch.no_grad():
        expected = features(images)
        for x, layer in zip(ours.train(training)(images), layers, strict=True):
            assert torch.equal(x, expected[layer])
    assert all(parameter.requires_grad for parameter in ours.parameters())


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_the_cost_is_the_published_one_without_the_classifier(name: str) -> None:
    published = get_model_weights(name).DEFAULT.meta
    cost = ResNet(name).cost()
    assert cost.params + 2048 * CLASSES + CLASSES == published["num_params"]
    assert round((cost.macs + 2048 * CLASSES) / 1e9, 3) == published["_ops"]


@pytest.mark.parametrize("size", [224, 97])
def test_the_cost_is_what_torch_counts(size: int) -> None:
    with torch.device("meta"):
        network, images = ResNet("resnet101"), torch.empty(1, 3, size, size)
    with FlopCounterMode(display=False) as counter:
        network.eval()(images)
    # torch counts a MAC as two.
    assert 2 * network.cost(size).macs == counter.get_total_flops()


def test_counting_leaves_the_network_and_the_random_numbers_alone() -> None:
    network = ResNet("resnet50")
    torch.manual_seed(5)
    network.cost()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert network.training and network.conv1.weight.device.type == "cpu"
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_detector_stands_on_it_and_all_of_it_learns(kind: str) -> None:
    network = ResNet("resnet50")
    detector = build_detector(network, NUM_CLASSES, SETTINGS[kind]())
    assert find_backbone(detector) is network
    boxes = [[4.0, 6.0, 40.0, 44.0]]
    losses = detector(random_images((64, 64), (64, 64)), targets(first_label(detector), boxes, boxes))
    sum(losses.values()).backward()
    unused = {name for name, x in network.named_parameters() if x.grad is None or not x.grad.abs().max() > 0}
    assert not unused
    with torch.no_grad():
        assert set(detector.eval()(random_images((64, 64)))[0]) == {"boxes", "scores", "labels"}


def test_a_classifier_stands_on_it() -> None:
    with torch.device("meta"):
        classifier = Classifier(ResNet("resnet50"), num_classes=7, head_channels=16)
        assert classifier(torch.empty(2, 3, 64, 64)).shape == (2, 7)
