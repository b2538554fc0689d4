"""What every op must do: its shapes, its cost, its weights, and where it may stand."""

import copy
import subprocess
import sys
import types
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import detnas
from detnas.models.backbone import Subnet
from detnas.models.ops import OPS
from detnas.models.ops.spec import OpSpec
from detnas.models.supernet import Supernet
from detnas.spaces import Architecture, Block, SearchSpace
from detnas.spaces.ops import find_op
from detnas.training.paths import PathSampler
from detnas.utils.errors import UserError

BLOCKS = [
    Block(stage, in_channels, out_channels, stride)
    for stage, in_channels, out_channels, stride in [(0, 4, 8, 2), (0, 8, 8, 1), (1, 8, 20, 2), (1, 20, 20, 1)]
]
SIZES = [(9, 12), (8, 7), (1, 1)]


class OpContract:
    """Derive from it and give the fixture `op`, the name of an op as `SearchSpace.ops` takes it."""

    @pytest.fixture
    def spec(self, op: str) -> OpSpec:
        spec: OpSpec = find_op(op)
        return spec

    @pytest.fixture
    def blocks(self, spec: OpSpec) -> list[Block]:
        """Where the op may stand, of `BLOCKS`."""
        allowed = [block for block in BLOCKS if spec.is_allowed(block)]
        assert allowed
        return allowed

    @pytest.fixture
    def space(self, op: str) -> SearchSpace:
        """The op as the second of two, of which the first may stand anywhere."""
        return SearchSpace(
            f"with-{op.rpartition(':')[2]}",
            4,
            (8, 20, 24),
            (2, 1, 3),
            ("xception" if op == "shuffle3" else "shuffle3", op),
        )

    def test_maps_have_the_blocks_channels_and_stride(self, spec: OpSpec, blocks: list[Block]) -> None:
        for block in blocks:
            op = spec.build(block, "even_odd").eval()
            for height, width in SIZES:
                with torch.no_grad():
                    y = op(torch.rand(2, block.in_channels, height, width))
                assert y.shape == (2, block.out_channels, -(-height // block.stride), -(-width // block.stride))
                assert y.isfinite().all()

    def test_it_costs_what_is_computed(self, spec: OpSpec, blocks: list[Block]) -> None:
        rng = np.random.default_rng(0)
        for _ in range(12):
            channels, more = 4 * rng.integers(1, 12, size=2)
            wide = [Block(0, int(channels), int(channels), 1), Block(0, int(channels), int(channels + more), 2)]
            blocks += [block for block in wide if spec.is_allowed(block)]
        for block in blocks:
            op = spec.build(block, "even_odd").eval()
            for size in map(tuple, rng.integers(10, 38, size=(2, 2)).tolist()):
                with FlopCounterMode(display=False) as counter, torch.no_grad():
                    op(torch.rand(1, block.in_channels, *size))
                cost = spec.cost(block, size)
                assert cost.macs == counter.get_total_flops() / 2
                assert cost.params == sum(parameter.numel() for parameter in op.parameters())
                assert cost.latency == 0

    def test_weights_are_a_function_of_the_seed(self, spec: OpSpec, blocks: list[Block]) -> None:
        for block in blocks:
            states = []
            for shuffle in ("even_odd", "even_odd", "interleave"):
                torch.manual_seed(3)
                states.append(spec.build(block, shuffle).state_dict())
            for state in states[1:]:
                assert state.keys() == states[0].keys()
                assert all(torch.equal(state[name], states[0][name]) for name in state)

    def test_every_parameter_learns(self, spec: OpSpec, blocks: list[Block]) -> None:
        for block in blocks:
            op = spec.build(block, "even_odd").train()
            op(torch.randn(4, block.in_channels, 8, 8, requires_grad=True)).square().sum().backward()
            for name, parameter in op.named_parameters():
                assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    def test_it_takes_the_weights_of_its_own_kind_or_says_why_not(self, spec: OpSpec, blocks: list[Block]) -> None:
        for block in blocks:
            op, native = spec.build(block, "even_odd"), spec.build(block, "even_odd")
            own, learned = copy.deepcopy(op.state_dict()), copy.deepcopy(native.state_dict())
            expected = [own, learned]  # it may keep its own
            try:
                spec.seed(op, native)
            except ValueError as error:
                assert str(error) and "\n" not in str(error)
                expected = [own]
            assert any(is_same(op.state_dict(), state) for state in expected)
            assert is_same(native.state_dict(), learned)

    def test_equal_blocks_have_the_same_answer(self, spec: OpSpec) -> None:
        for block in BLOCKS:
            assert spec.is_allowed(block) == spec.is_allowed(Block(**vars(block)))

    def test_a_space_has_it_where_it_is_allowed(self, spec: OpSpec, space: SearchSpace) -> None:
        assert space.allowed_ops == tuple((0, 1) if spec.is_allowed(block) else (0,) for block in space.blocks)
        assert space.size == prod(map(len, space.allowed_ops))
        table = space.cost_table(32)
        for allowed, *rows in zip(
            space.allowed_ops, table.of("macs"), table.of("params"), table.of("latency"), strict=True
        ):
            assert all(tuple(row) == allowed for row in rows)
        for index, block in enumerate(space.blocks):
            architecture = space.architecture([int(place == index) for place in range(len(space.blocks))])
            assert space.allows(architecture) == spec.is_allowed(block)
            if spec.is_allowed(block):
                space.check(architecture)
            else:
                with pytest.raises(
                    UserError, match=rf"op 1 \({space.ops[1]}\) is not allowed at block {index} of space"
                ):
                    space.check(architecture)

    def test_paths_have_it_where_it_is_allowed(self, space: SearchSpace) -> None:
        rng = np.random.default_rng(0)
        for fair in (True, False):
            paths = PathSampler(space, is_fair=fair)
            drawn = [path for _ in range(20) for path in paths.draw(rng)]
            for path in drawn:
                space.check(path)
            for allowed, chosen in zip(space.allowed_ops, zip(*(path.ops for path in drawn), strict=True), strict=True):
                assert set(chosen) == set(allowed)

    def test_the_supernet_has_it_where_it_is_allowed(self, space: SearchSpace) -> None:
        supernet = Supernet(space)
        for choice, allowed in zip(supernet.choices, space.allowed_ops, strict=True):
            assert len(choice.ops) == 2
            assert all(not choice.ops[op].state_dict() for op in {0, 1} - set(allowed))
        supernet(torch.rand(1, 3, 64, 64))  # nothing was activated: the first op that each block can be

    @pytest.mark.parametrize("training", [True, False])
    def test_an_extracted_network_computes_what_the_supernet_does(self, space: SearchSpace, training: bool) -> None:
        torch.manual_seed(0)
        supernet = Supernet(space)
        images = torch.rand(2, 3, 64, 64)
        for architecture in (greediest(space), space.draw(np.random.default_rng(1))):
            supernet.activate(architecture)
            for norm in supernet.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.reset_running_stats()
            subnet = supernet.train(training).subnet(architecture)
            assert subnet.state_dict().keys() == Subnet(space, architecture).state_dict().keys()
            with torch.no_grad():
                for ours, theirs in zip(subnet(images), supernet(images), strict=True):
                    assert torch.equal(ours, theirs)

    def test_whole_networks_cost_what_is_computed(self, space: SearchSpace) -> None:
        for architecture in (greediest(space), space.draw(np.random.default_rng(2))):
            subnet = Subnet(space, architecture).eval()
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                subnet(torch.rand(1, 3, 65, 65))
            cost = space.cost(architecture, 65)
            assert cost.macs == counter.get_total_flops() / 2
            assert cost.params == sum(parameter.numel() for parameter in subnet.parameters())


def is_same(state: dict[str, Any], other: dict[str, Any]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def greediest(space: SearchSpace) -> Architecture:
    """The last op that each block can be."""
    return space.architecture([allowed[-1] for allowed in space.allowed_ops])


class TestOps(OpContract):
    @pytest.fixture(params=OPS)
    def op(self, request: pytest.FixtureRequest) -> str:
        name: str = request.param
        return name


def test_recipes_and_costs_need_no_torch() -> None:
    code = (
        "import sys; from detnas.config import load_recipe; from detnas.models.ops import OPS; "
        "load_recipe('shapes-quick').search_space().cost_table(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Plain(detnas.CustomOp):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x))  # type: ignore[no-any-return]


class Residual(Plain):
    @classmethod
    def is_allowed(cls, block: Block) -> bool:
        return block.stride == 1 and block.in_channels == block.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class TestCustomOps(OpContract):
    """A custom op's class satisfies the same contract."""

    @pytest.fixture(params=[Plain, Residual])
    def op(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
        module = types.ModuleType("contract_ops")
        setattr(module, request.param.__name__, request.param)
        monkeypatch.setitem(sys.modules, "contract_ops", module)
        return f"contract_ops:{request.param.__name__}"
