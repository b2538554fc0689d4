"""Ops that users bring: counted, built, initialized, and refused."""

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_models import fpn
from torch import Tensor, nn

import detnas
from detnas.models.backbone import Subnet, shrink_depthwise
from detnas.models.detectors.build import build_detector
from detnas.models.ops.shuffle import Op
from detnas.models.supernet import Supernet
from detnas.models.weights import DetectorInfo, load_detector, save_detector
from detnas.spaces import PAPER_OPS, Architecture, Block, Cost, SearchSpace, Size
from detnas.training.paths import PathSampler, path_chooser
from detnas.utils.errors import UserError


class Shuffle5(detnas.CustomOp):
    """detnas's own op, as a user would bring it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.op = Op(Block(0, in_channels, out_channels, stride), kernel=5)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)  # type: ignore[no-any-return]


class Attending(detnas.CustomOp):
    """A linear layer over places, which is no convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(stride, ceil_mode=True)
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.pool(x).movedim(1, -1)).movedim(-1, 1)  # type: ignore[no-any-return]


class WithoutStride(detnas.CustomOp):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x)  # type: ignore[no-any-return]


class Broken(detnas.CustomOp):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        raise ValueError("no such\nthing")


class OfASquare(Broken):
    """Its cost is that of the first edition, which had one side."""

    @classmethod
    def cost(cls, block: Block, size: Any) -> Cost:
        return Cost(macs=size**2, params=7)


class OfNone(Broken):
    @classmethod
    def cost(cls, block: Block, size: Any) -> Cost:
        return Cost(macs=size * 3, params=7)


class Told(Broken):
    @classmethod
    def cost(cls, block: Block, size: Size) -> Cost:
        return Cost(macs=size[1] * block.in_channels, params=7)


NO_OP = nn.Conv2d
CLASSES = (Shuffle5, Attending, WithoutStride, Broken, OfASquare, OfNone, Told)


@pytest.fixture(autouse=True)
def module() -> Iterator[None]:
    """The classes above, where spaces find them."""
    own = types.ModuleType("own_ops")
    for value in CLASSES:
        setattr(own, value.__name__, value)
    own.NO_OP = NO_OP  # type: ignore[attr-defined]
    sys.modules["own_ops"] = own
    yield
    del sys.modules["own_ops"]


def space(*ops: str) -> SearchSpace:
    return SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1), ops)


@pytest.mark.parametrize("size", [224, 97, 33])
def test_an_own_op_that_does_what_ours_does_costs_the_same(size: int) -> None:
    table = space("shuffle5", "own_ops:Shuffle5", "xception").cost_table(size)
    for block in range(6):
        assert table.of("macs")[block][0] == table.of("macs")[block][1] != table.of("macs")[block][2]
        assert table.of("params")[block][0] == table.of("params")[block][1]


def test_matrix_products_are_counted_a_multiply_add_as_one() -> None:
    table = SearchSpace("toy", 4, (8,), (2,), ("own_ops:Attending",)).cost_table(32)
    # The stem halves the image before the first block sees it, and that halves it again.
    assert table.of("macs") == [{0: 4 * 8 * 8 * 8}, {0: 8 * 8 * 8 * 8}]
    assert table.of("params") == [{0: 4 * 8 + 8}, {0: 8 * 8 + 8}]


def test_an_own_op_may_say_itself_what_it_costs() -> None:
    table = space("own_ops:Told").cost_table(64)
    assert (table.of("macs")[0], table.of("params")[0]) == ({0: 32 * 4}, {0: 7})


def test_an_own_op_computes_as_ours_with_its_weights() -> None:
    own, ours = space("own_ops:Shuffle5"), space("shuffle5")
    torch.manual_seed(0)
    one, other = Subnet(own, own.architecture([0] * 6)), Subnet(ours, ours.architecture([0] * 6))
    weights = {name.replace(".op.", "."): tensor for name, tensor in one.state_dict().items()}
    other.load_state_dict(weights)
    images = torch.rand(2, 3, 64, 64)
    for mine, theirs in zip(one(images), other(images), strict=True):
        assert torch.equal(mine, theirs)


def test_an_own_op_begins_with_the_weights_that_it_gives_itself() -> None:
    ops = ("shuffle3", "own_ops:Shuffle5")
    supernet = Supernet(space(*ops))
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    for name, tensor in before.items():
        if name.endswith("1.bias") and ".ops." in name:  # of BN, where PyTorch begins with zeros
            assert torch.equal(tensor, torch.full_like(tensor, 0.0 if ".ops.1." in name else 1e-4)), name
    shrink_depthwise(supernet)
    changed = {name for name, tensor in supernet.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed and all(".ops.0." in name for name in changed)


def test_networks_of_our_ops_draw_the_same_weights_beside_no_matter_what() -> None:
    torch.manual_seed(3)
    ours = Supernet(space("shuffle3", "xception"))
    torch.manual_seed(3)
    with_own = Subnet(space("shuffle3", "xception", "own_ops:Attending"), Architecture.parse("00 0 00 0"))
    torch.manual_seed(3)
    alone = Subnet(space("shuffle3", "xception"), Architecture.parse("00 0 00 0"))
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, with_own.state_dict()[name])
    assert len(ours.choices[0].ops) == 2


def test_fair_paths_are_as_many_as_there_are_ops() -> None:
    own = space("shuffle3", "own_ops:Shuffle5", "own_ops:Attending", "xception", "shuffle7")
    supernet = Supernet(own)
    chosen = []
    for _ in path_chooser(supernet.activate, PathSampler(own, is_fair=True), lambda step: step)(0):
        chosen.append([block.active for block in supernet.choices])
    assert [sorted(ops) for ops in zip(*chosen, strict=True)] == [list(range(5))] * 6


def test_a_weights_file_names_its_own_ops_and_only_them(tmp_path) -> None:
    for ops in (PAPER_OPS, ("shuffle3", "own_ops:Shuffle5")):
        of = space(*ops)
        info = DetectorInfo(of, of.architecture([0, 1, 0, 1, 0, 1]), fpn(), ((0, "thing"),))
        detector = info.build()
        file = tmp_path / f"{len(ops)}.safetensors"
        save_detector(file, detector, info)
        assert (b'"ops"' in file.read_bytes()) == (ops != PAPER_OPS)
        loaded, about = load_detector(file, ["own_ops:Shuffle5"])
        assert about == info
        for name, tensor in detector.state_dict().items():
            assert torch.equal(tensor, loaded.state_dict()[name])


@pytest.mark.parametrize(
    ("op", "said"),
    [
        ("own_ops:WithoutStride", r"WithoutStride gives \(1, 8, 32, 32\) as an op of .* it must be \(1, 8, 16, 16\)"),
        ("own_ops:Broken", r"Broken cannot be counted as an op of 4 to 8 channels, stride 2 \(ValueError: no such\)"),
        ("own_ops:OfASquare", r"OfASquare: cost\(block, size\) fails .*; let it take the height and width"),
        ("own_ops:OfNone", r"OfNone: cost\(block, size\) gives .*; let it take the height and width"),
        ("own_ops:NO_OP", "own_ops:NO_OP is no op; let it be a subclass of detnas.CustomOp"),
        ("own_ops:Missing", "module own_ops has no Missing"),
        ("own_opps:Shuffle5", r"own_opps:Shuffle5 cannot be imported \(ModuleNotFoundError.*PYTHONPATH"),
    ],
)
def test_what_is_no_op_is_refused_before_anything_is_built(op: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^space.ops: .*({said})") as refusal:
        space("shuffle3", op).cost_table(64)
    assert "\n" not in str(refusal.value)


def test_a_class_that_only_counts_is_not_built() -> None:
    sys.modules["own_ops"].Told = types.SimpleNamespace(cost=None)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"own_ops:Told is no op; let it be a subclass of detnas\.CustomOp"):
        Supernet(space("own_ops:Told"))


def test_detectors_refuse_maps_that_the_backbone_does_not_have() -> None:
    short = SearchSpace("short", 4, (8, 16), (1, 1))
    with pytest.raises(UserError, match=r"detector.strides \[4, 8, 16, 32\]: the backbone has maps of \[4, 8\] only"):
        build_detector(Subnet(short, Architecture.parse("0 0")), 2, fpn())
