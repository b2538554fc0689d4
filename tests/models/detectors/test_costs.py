"""What whole detectors cost, by the additive table and by torch's own counter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_recipe import small_recipe
from torch import nn

from detnas.config import DetectorSettings, FPNSettings, RetinaNetSettings
from detnas.config.auto import fill_usual
from detnas.data.images import resized_sizes
from detnas.models.detectors.build import Detector, build_detector, find_spec
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.supernet import Supernet
from detnas.spaces import BudgetSampler, search_space
from detnas.spaces.named import SPACES

IMAGE = (96, 160)
CLASSES = 3
DETECTORS = {
    "retinanet": RetinaNetSettings(fpn_channels=16, norm="group"),
    "fpn": FPNSettings(fpn_channels=16, box_channels=16, box_features=32, proposals=1),
}


@pytest.mark.parametrize("type", DETECTORS)
@pytest.mark.parametrize("name", SPACES)
def test_the_table_is_exact_for_random_networks_of_every_space(name: str, type: str) -> None:
    """200 for each detector, 25 in each of the spaces. They run without data: only the shapes are needed to count.
    Hooks count faster than torch's counter, with which the contract of detectors compares one network."""
    space, settings, rng = search_space(name), DETECTORS[type], np.random.default_rng(0)
    parts = settings.whole_parts(dict(zip(space.strides, space.map_channels, strict=True)), CLASSES, IMAGE)
    table = replace(space.cost_table(IMAGE), detector=parts)
    with torch.device("meta"):
        supernet = Supernet(space)
        detector = build_detector(supernet, CLASSES, settings).eval()
        images = torch.empty(1, 3, *IMAGE)
    counted: list[int] = []
    for layer in detector.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda one, _, out: counted.append(out.numel() * one.weight[0].numel()))
    outside = _weights(detector) - _weights(supernet.blocks)
    for _ in range(25):
        architecture = space.draw(rng)
        supernet.activate(architecture)
        counted.clear()
        with torch.no_grad():
            _run(detector, images)
        cost = table.cost(architecture)
        assert cost.macs == sum(counted)
        assert cost.params == outside + sum(_weights(choice.ops[choice.active]) for choice in supernet.choices)


def _weights(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def _run(detector: Detector, images: torch.Tensor) -> None:
    """Run all that is counted, the box head on one region."""
    if find_spec(detector).first_label == 0:
        find_spec(detector).export(detector).network(images)
    else:
        maps = list(detector.backbone(images).values())
        detector.rpn.head(maps)
        detector.roi_heads.box_predictor(detector.roi_heads.box_head(maps[0].new_empty(1, 16, 7, 7)))


@pytest.mark.parametrize("sizes", [(800, 1333), (256, 384), (33, 400), (512, 512)])
@pytest.mark.parametrize("image", [(640, 480), (480, 640), (500, 500), (1000, 90), (1920, 1080)])
def test_images_are_counted_at_the_size_at_which_the_backbone_receives_them(
    image: tuple[int, int], sizes: tuple[int, int]
) -> None:
    settings = RetinaNetSettings(min_size=sizes[0], max_size=sizes[1])
    width, height = image
    batch, _ = ImageTransform(settings).eval()([torch.rand(3, height, width)])
    size = settings.image_size(width / height)
    assert size == tuple(batch.tensors.shape[2:])
    resized = resized_sizes(np.array([image]), *sizes)[0]
    assert all(0 <= padded - side < 32 for padded, side in zip(size[::-1], resized, strict=True))


def test_proposals_multiply_the_work_and_not_the_weights() -> None:
    def heads(settings: DetectorSettings) -> tuple[int, int]:
        cost = settings.whole_parts({4: 16, 8: 32, 16: 64, 32: 128}, CLASSES, IMAGE).heads
        return cost.macs, cost.params

    (one, params), (two, same), (ten, _) = (heads(FPNSettings(proposals=number)) for number in (1, 2, 10))
    assert same == params and ten - one == 9 * (two - one)


@pytest.mark.parametrize("type", ["retinanet", "fpn"])
def test_a_budget_of_the_detector_is_that_of_its_backbone_less_the_rest(type: str) -> None:
    """The same architectures are within, when the bounds are moved by what the rest costs."""
    recipe = fill_usual(small_recipe(type, budget={"of": "detector"}))
    space = recipe.search_space()
    parts = recipe.cost_budget().table(space, None).detector
    assert parts is not None
    size = parts.size
    rest = parts.pyramid.macs + parts.heads.macs
    middle = sum(space.cost_table(size).extent("macs")) // 2
    bounded = recipe.model_copy(update={"budget": recipe.budget.model_copy(update={"macs_max": middle + rest})})
    sampler, rng = BudgetSampler(space, bounded.cost_budget()), np.random.default_rng(0)
    assert 0 < sampler.share() < 1
    for _ in range(50):
        drawn = space.draw(rng)
        assert sampler.allows(drawn) == (space.cost(drawn, size).macs <= middle)
        inside = sampler.sample(rng)
        assert inside is not None and space.cost(inside, size).macs <= middle
