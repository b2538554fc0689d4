"""Backbones: their form, and the supernet against the plain networks that come out of it."""

import pytest
import torch
from small_models import ARCHITECTURES, SPACE, fpn, random_images, randomize, retinanet
from torch import nn

from detnas.config import TrainingSettings
from detnas.models.backbone import Backbone, Subnet, find_backbone, shrink_depthwise
from detnas.models.classifier import Classifier
from detnas.models.detectors.build import build_detector
from detnas.models.ops.shuffle import split_channels
from detnas.models.supernet import Supernet, extract_subnet
from detnas.spaces import Architecture, search_space
from detnas.training.schedules import build_optimizer
from detnas.utils.errors import UserError


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def differing(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_channels_are_split_as_the_paper_lists_them() -> None:
    x = torch.arange(8.0).reshape(1, 8, 1, 1)
    for shuffle, identity, main in (
        ("even_odd", [0, 2, 4, 6], [1, 3, 5, 7]),
        ("interleave", [0, 4, 1, 5], [2, 6, 3, 7]),
    ):
        split = split_channels(x, shuffle)
        assert [half.flatten().tolist() for half in split] == [identity, main]


# Form


@pytest.mark.parametrize("make", [lambda: Supernet(SPACE), lambda: Subnet(SPACE, ARCHITECTURES[1])])
@pytest.mark.parametrize("size", [(64, 96), (65, 47), (1, 33)])
def test_maps_have_the_channels_and_strides_that_the_backbone_tells(make, size: tuple[int, int]) -> None:
    backbone = make().eval()
    assert backbone.channels == [8, 16, 24, 32]
    assert backbone.strides == [4, 8, 16, 32]
    with torch.no_grad():
        maps = backbone(torch.rand(2, 3, *size))
    for x, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        assert x.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_networks_refuse_an_architecture_of_another_space() -> None:
    other = Architecture.parse("0 0 0 0")
    supernet = Supernet(SPACE)
    for build in (lambda: Subnet(SPACE, other), lambda: supernet.activate(other), lambda: supernet.subnet(other)):
        with pytest.raises(UserError, match="space toy"):
            build()


def test_spaces_times_a_width_compute() -> None:
    space = search_space("tiny", 0.25)
    architecture = space.architecture([3, 2, 1, 0, 3, 2, 1, 0, 3, 2])
    with torch.no_grad():
        maps = Subnet(space, architecture)(torch.rand(2, 3, 64, 64))
    assert [x.shape[1] for x in maps] == list(space.channels)
    assert all(torch.isfinite(x).all() for x in maps)


def test_initialization_is_that_of_the_official_code() -> None:
    torch.manual_seed(0)
    backbone = Subnet(search_space("small"), search_space("small").uniform("shuffle3"))
    for name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 1e-4).all()
        elif isinstance(module, nn.Conv2d) and module.weight.numel() > 1000:
            expected = 0.01 if name == "stem.0" else 1 / module.weight.shape[1]
            assert module.weight.std().item() == pytest.approx(expected, rel=0.15), name


def test_depthwise_kernels_shrink_to_the_root_of_their_fan_in() -> None:
    torch.manual_seed(0)
    space = search_space("small")
    official, shrunk = Supernet(space), Supernet(space)
    shrunk.load_state_dict(official.state_dict())
    shrink_depthwise(shrunk)
    modules = dict(official.named_modules())
    for name, module in shrunk.named_modules():
        if isinstance(module, nn.Conv2d):
            side = module.kernel_size[0] if module.groups > 1 else 1
            torch.testing.assert_close(module.weight * side, modules[name].weight)


def test_networks_start_from_the_seed() -> None:
    def fresh() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return state(Supernet(SPACE))

    assert not differing(fresh(), fresh())


@pytest.mark.parametrize("size", [32, 56, 65])
def test_the_classifier_takes_any_size(size: int) -> None:
    classifier = Classifier(Subnet(SPACE, ARCHITECTURES[2]), num_classes=7, head_channels=16).eval()
    logits = classifier(torch.rand(2, 3, size, size))
    assert logits.shape == (2, 7)
    # The parameters of the head: a 1x1 convolution with bias, BN, and a linear layer.
    head = sum(parameter.numel() for parameter in classifier.head.parameters())
    assert head == (32 * 16 + 16) + 2 * 16 + (16 * 7 + 7)


# The supernet and what is extracted from it

MODELS = {
    "backbone": lambda: Supernet(SPACE),
    "interleaved": lambda: Supernet(SPACE, "interleave"),
    "classifier": lambda: Classifier(Supernet(SPACE), num_classes=3, head_channels=16),
    "fpn": lambda: build_detector(Supernet(SPACE), 3, fpn()),
    "retinanet": lambda: build_detector(Supernet(SPACE), 3, retinanet(norm="batch")),
}


def outputs(model: nn.Module, memory_format: torch.memory_format) -> list[torch.Tensor]:
    """All that `model` gives in evaluation mode, as one list of tensors."""
    model.eval()
    images = random_images((64, 96), (48, 64)) if not isinstance(model, Backbone | Classifier) else None
    with torch.no_grad():
        if images is not None:
            found = [value for output in model(images) for value in output.values()]
            assert any(len(value) for value in found)
            return found
        batch = random_images((64, 64))[0][None].contiguous(memory_format=memory_format)
        result = model(batch)
        return result if isinstance(result, list) else [result]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("kind", MODELS)
def test_an_extracted_network_computes_the_activated_path_bit_for_bit(
    kind: str, memory_format: torch.memory_format
) -> None:
    model = MODELS[kind]()
    randomize(model)
    model.to(memory_format=memory_format)
    results = []
    for architecture in ARCHITECTURES:
        find_backbone(model).activate(architecture)
        activated = outputs(model, memory_format)
        extracted = extract_subnet(model, architecture)
        assert type(extracted) is (Subnet if isinstance(model, Supernet) else type(model))
        assert find_backbone(extracted).architecture == architecture
        subnet = outputs(extracted, memory_format)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(activated, subnet, strict=True))
        results.append(activated[0])
    # The paths differ, or the comparison says nothing.
    assert len({tuple(result.flatten().tolist()) for result in results}) == len(ARCHITECTURES)


@pytest.mark.parametrize("kind", MODELS)
def test_nothing_done_to_an_extracted_network_reaches_the_supernet(kind: str) -> None:
    model = MODELS[kind]()
    randomize(model)
    model.train()
    find_backbone(model).activate(ARCHITECTURES[0])
    before = state(model)
    extracted = extract_subnet(model, ARCHITECTURES[1])
    addresses = [{t.data_ptr() for t in (*m.parameters(), *m.buffers())} for m in (model, extracted)]
    assert not addresses[0] & addresses[1]
    for tensor in (*extracted.parameters(), *extracted.buffers()):
        tensor.data.fill_(7)
    find_backbone(extracted).strides.append(64)
    assert not differing(before, state(model))
    assert find_backbone(model).strides == [4, 8, 16, 32]
    # The supernet itself stays where it was, in its mode and on its path.
    supernet = find_backbone(model)
    assert isinstance(supernet, Supernet) and supernet.training
    assert [block.active for block in supernet.blocks] == list(ARCHITECTURES[0].ops)


@pytest.mark.parametrize("training", [True, False])
def test_an_extracted_network_is_in_the_mode_of_the_supernet(training: bool) -> None:
    model = MODELS["classifier"]().train(training)
    extracted = extract_subnet(model, ARCHITECTURES[1])
    assert {module.training for module in extracted.modules()} == {training}


def test_an_extracted_network_can_be_trained_on() -> None:
    supernet = Supernet(SPACE)
    subnet = extract_subnet(supernet, ARCHITECTURES[1])
    sum(x.square().mean() for x in subnet(torch.rand(2, 3, 32, 32))).backward()
    assert all(parameter.grad is not None for parameter in subnet.parameters())
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_only_one_backbone_may_be_inside() -> None:
    with pytest.raises(ValueError, match="unpack"):
        find_backbone(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="unpack"):
        find_backbone(nn.ModuleList([Supernet(SPACE), Supernet(SPACE)]))


# Ops that did not run


def op_of(name: str) -> tuple[int, int] | None:
    """Block and op that a tensor of a supernet belongs to, from its name blocks.B.ops.O.…"""
    parts = name.split(".")
    return (int(parts[1]), int(parts[3])) if parts[0] == "blocks" else None


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_op_that_did_not_run_does_not_move(optimizer: str) -> None:
    torch.manual_seed(0)
    supernet = Supernet(SPACE)
    settings = TrainingSettings.model_validate(
        {"steps": 10, "batch_size": 2, "optimizer": optimizer, "lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}
    )
    optimizer = build_optimizer(supernet, settings)
    ran_before: set[tuple[int, int]] = set()
    # Each path is trained twice, so that momentum stands when it is left, and one is come back to.
    for place in (1, 1, 2, 2, 3, 1, 1):
        architecture = ARCHITECTURES[place]
        supernet.activate(architecture)
        before = state(supernet)
        loss = sum((x - 1).square().mean() for x in supernet(torch.rand(2, 3, 64, 64)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        moved = differing(before, state(supernet))
        active = set(enumerate(architecture.ops))
        assert {op_of(name) for name in moved} == active | {None}
        # All of what ran moved: weights and statistics.
        assert moved == {name for name in before if op_of(name) in active | {None}}
        ran_before |= active
    momenta = [state for state in optimizer.state.values() if state]
    expected = sum(op_of(name) in ran_before | {None} for name, _ in supernet.named_parameters())
    assert len(momenta) == expected
