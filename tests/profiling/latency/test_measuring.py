"""Measuring: with a clock that is known to the microsecond, and ONNX Runtime's numbers against PyTorch's."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_mobile
from small_recipe import small_recipe
from torch import Tensor, nn

from detnas.exporting.onnx_model import onnx_model
from detnas.models.backbone import SpaceBackbone, Subnet
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.ops import OPS
from detnas.models.ops.mbconv import MBConv
from detnas.models.ops.shuffle import Op
from detnas.profiling.latency import backends, profile
from detnas.profiling.latency.backends import Eager, OnnxRuntime, Runner, rounds, time_parts
from detnas.profiling.latency.check import NUM_ARCHITECTURES, LatencyCheck
from detnas.profiling.latency.table import measure_table
from detnas.spaces import Architecture, Block, SearchSpace, read_latencies, search_space

IMAGES = torch.rand(1, 3, 64, 96)
STEM = 700
SPACE = SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1))


def weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class Simulated:
    """A clock that a stem advances by `STEM` and an op by its number of weights and `boundary`.

    A whole network advances it by `factor` times the sum of `STEM` and weights.
    """

    name = "eager"
    device = torch.device("cpu")
    threads = 3

    def __init__(self, boundary: float = 0.0, factor: float = 1.0) -> None:
        self.now = 0.0
        self.boundary = boundary
        self.factor = factor
        self.loaded = 0

    def load(self, network: nn.Module, *examples: Tensor, copies: int = 1) -> list[Runner]:
        assert not network.training
        if isinstance(network, SpaceBackbone):
            taken = self.factor * (STEM + sum(map(weights, network.blocks)))
        elif isinstance(network, Op | MBConv | nn.Identity):
            taken = weights(network) + self.boundary
        else:
            taken = STEM
        self.loaded += copies

        def run(x: int) -> int:
            self.now += taken
            return x

        return [run] * copies

    def prepare_input(self, images: Tensor) -> int:
        return 0

    def timestamp(self) -> float:
        return self.now

    def elapsed_us(self, timestamps: Sequence[float]) -> list[float]:
        return [after - before for before, after in pairwise(timestamps)]


def expected_rows(space: SearchSpace) -> tuple[tuple[int | None, ...], ...]:
    """None where an op is not allowed; a table has no latency below a microsecond, as a skip would have."""

    def cell(op: int, block: Block, allowed: tuple[int, ...]) -> int | None:
        return max(1, weights(OPS[space.ops[op]].build(block, "even_odd"))) if op in allowed else None

    rows = zip(space.blocks, space.allowed_ops, strict=True)
    return tuple(tuple(cell(op, block, allowed) for op in range(len(space.ops))) for block, allowed in rows)


@pytest.mark.parametrize("space", [SPACE, search_space("tiny"), toy_mobile.SPACE], ids=lambda space: space.name)
def test_every_op_of_every_block_is_measured(space: SearchSpace) -> None:
    table, correction, _ = measure_table(space, IMAGES, Simulated())
    assert table.blocks_us == expected_rows(space) and table.stem_us == STEM
    assert (table.space, table.height, table.width, table.threads) == (space.name, 64, 96, 3)
    assert (correction.excess_us, correction.factor) == (pytest.approx(0, abs=1e-6), 1)
    rows = dict(zip(space.blocks, table.blocks_us, strict=True))
    assert table.blocks_us == tuple(rows[block] for block in space.blocks)  # equal blocks, equal rows


def test_what_pieces_take_longer_is_taken_off_and_told() -> None:
    table, correction, _ = measure_table(SPACE, IMAGES, Simulated(boundary=37))
    assert correction.excess_us == pytest.approx(37) and table.blocks_us == expected_rows(SPACE)


def test_equal_blocks_share_the_median_of_their_times() -> None:
    class Drifting(Simulated):
        """The first of several equal blocks takes 40 microseconds more."""

        def load(self, network: nn.Module, *examples: Tensor, copies: int = 1) -> list[Runner]:
            first, *others = super().load(network, *examples, copies=copies)

            def slower(x: int) -> int:
                self.now += 40
                return first(x)

            return [slower, *others] if len(others) > 1 else [first, *others]

    tiny = search_space("tiny")  # three equal blocks in the third stage
    assert measure_table(tiny, IMAGES, Drifting())[0].blocks_us == expected_rows(tiny)


def test_sums_that_are_right_have_no_error() -> None:
    _, _, found = measure_table(SPACE, IMAGES, Simulated(boundary=12))
    assert np.array_equal(found.predicted, found.measured)
    figures = found.statistics()
    assert figures["largest error"] == 0 and figures["factor"] == pytest.approx(1)
    assert [figures[name] for name in ("kendall tau", "spearman rho")] == pytest.approx([1, 1])
    for architecture, predicted in zip(found.architectures, found.predicted, strict=True):
        assert predicted == STEM + weights(Subnet(SPACE, architecture).blocks)


def test_the_architectures_of_the_check_span_the_range_of_latencies() -> None:
    table, _, found = measure_table(SPACE, IMAGES, Simulated())
    low, high = (STEM + sum(map(pick, table.blocks_us)) for pick in (min, max))
    part = (high - low) / NUM_ARCHITECTURES
    assert len(set(found.architectures)) == len(found.architectures) >= NUM_ARCHITECTURES - 2
    assert found.predicted.min() <= low + 2 * part and found.predicted.max() >= high - 2 * part
    assert (np.diff(found.predicted) > 0).all()


def test_a_factor_is_fitted_and_told_and_the_errors_stay() -> None:
    _, _, right = measure_table(SPACE, IMAGES, Simulated())
    found = LatencyCheck(right.architectures, right.predicted, 1.25 * right.predicted)
    figures = found.statistics()
    assert figures["factor"] == pytest.approx(1.25)
    assert figures["mean error"] == pytest.approx(0.2) and figures["largest error"] == pytest.approx(0.2)
    assert figures["largest error with the factor"] == pytest.approx(0, abs=1e-12)
    assert figures["kendall tau"] == pytest.approx(1)
    said = "\n".join(found.describe())
    assert "error 20.0% on average, 20.0% at most; Kendall's tau 1.00, Spearman's rho 1.00" in said
    assert "1.250 times their sums; with this factor the error would be 0.0% on average, 0.0% at most" in said
    assert [row["measured_ms"] for row in figures["networks"]] == pytest.approx(1.25 * found.predicted / 1e3)


def test_a_wrong_order_is_told() -> None:
    _, _, right = measure_table(SPACE, IMAGES, Simulated())
    found = LatencyCheck(right.architectures, right.predicted, right.predicted[::-1].copy())
    assert "Kendall's tau -1.00, Spearman's rho -1.00" in found.describe()[0]


def test_rounds_are_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "MAX_SECONDS", 1e9)
    assert list(rounds()) == [False] + [True] * backends.MAX_ROUNDS
    monkeypatch.setattr(backends, "MAX_SECONDS", -1)
    assert list(rounds()) == [False] + [True] * backends.MIN_ROUNDS


@pytest.mark.parametrize(
    ("min_size", "max_size", "size"),
    [(800, 1333, (800, 1088)), (96, 96, (96, 96)), (128, 128, (96, 128)), (256, 384, (256, 352))],
)
@pytest.mark.usefixtures("simulated")
def test_the_input_is_a_4_to_3_image_resized_and_padded(
    min_size: int, max_size: int, size: tuple[int, int], tmp_path: Path
) -> None:
    recipe = small_recipe(detector__min_size=min_size, detector__max_size=max_size)
    list(profile.profile_latency(recipe, tmp_path))
    (table,) = read_latencies(next(tmp_path.iterdir()))
    batch, _ = ImageTransform(recipe.detector).eval()([torch.rand(3, 480, 640)])
    assert table.size == batch.tensors.shape[2:] == size


# The backends themselves


def pieces(architecture: Architecture, space: SearchSpace = SPACE) -> tuple[Subnet, list[nn.Module]]:
    torch.manual_seed(0)
    network = Subnet(space, architecture).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network, [network.stem, *network.blocks]


NETWORKS = [
    (SPACE, Architecture.parse("01 2 31 0")),
    (SPACE, Architecture.parse("32 1 03 2")),
    (toy_mobile.SPACE, toy_mobile.ARCHITECTURE),
]


@pytest.mark.parametrize(("space", "architecture"), NETWORKS, ids=str)
@torch.inference_mode()
def test_an_exported_op_computes_what_the_op_does(space: SearchSpace, architecture: Architecture) -> None:
    backend = OnnxRuntime()
    _, modules = pieces(architecture, space)
    x = IMAGES
    for module in modules:
        (run,) = backend.load(module, x)
        ours = torch.from_numpy(run(backend.prepare_input(x)).numpy())
        x = module(x)
        torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("space", "architecture"), NETWORKS[1:], ids=str)
@pytest.mark.parametrize(
    "make_backend", [lambda: Eager(torch.device("cpu")), OnnxRuntime], ids=["eager", "onnxruntime"]
)
@torch.inference_mode()
def test_pieces_in_a_row_compute_what_the_network_does(
    make_backend: Any, space: SearchSpace, architecture: Architecture
) -> None:
    backend = make_backend()
    network, modules = pieces(architecture, space)
    x, runs = IMAGES, []
    for module in modules:
        first, second = backend.load(module, x, copies=2)
        assert first is not second
        runs.append(second)
        x = module(x)
    kept: list[Any] = []
    times = time_parts(backend, [*runs, lambda found: kept.append(found) or found], backend.prepare_input(IMAGES))
    assert len(times) == len(modules) + 1 and min(times) >= 0
    found = kept[0] if isinstance(kept[0], Tensor) else torch.from_numpy(kept[0].numpy())
    torch.testing.assert_close(found, network(IMAGES)[-1], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_whole_network_is_exported_with_all_its_maps() -> None:
    import onnxruntime

    network, _ = pieces(Architecture.parse("13 2 03 3"))
    session = onnxruntime.InferenceSession(onnx_model(network, (IMAGES,)), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})
    for ours, theirs in zip(found, network(IMAGES), strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-4, atol=1e-5)


# The command's lines and files


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "Eager", lambda device: Simulated(boundary=5, factor=1.1))
    monkeypatch.setattr(profile, "missing", lambda: ["onnxruntime"])


@pytest.mark.usefixtures("simulated")
def test_what_is_said_and_kept(tmp_path: Path) -> None:
    recipe = small_recipe(space__width=1.0)
    lines = list(profile.profile_latency(recipe, tmp_path))
    assert lines[0] == (
        "latency of backbones of space tiny at 64x64 pixels, the size of an image after it is resized and padded"
    )
    (file,) = tmp_path.iterdir()
    assert file.name == "latency-tiny-64x64-eager.json" and any(str(file) in line for line in lines)
    assert any("onnxruntime: left out, onnxruntime not installed; pip install detnas[onnx]" in line for line in lines)
    (table,) = read_latencies(file)
    kept = json.loads(file.read_text())
    assert (table.backend, table.threads, table.space) == ("eager", 3, "tiny")
    assert any("Kendall's tau 1.00" in line for line in lines)
    assert kept["check"]["kendall tau"] == pytest.approx(1) and len(kept["check"]["networks"]) == NUM_ARCHITECTURES
    (correction,) = kept["corrections"]
    assert correction["factor"] == 1 and any(f"{abs(correction['excess_us']):.1f} us" in line for line in lines)
