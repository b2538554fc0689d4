"""Latencies of whole detectors: what is measured, what a file keeps, what a budget makes of it."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latency_tables import write_table
from shell import Shell
from small_recipe import small_recipe, write_recipe
from torch import Tensor, nn

from detnas.config import Recipe
from detnas.exporting.detectors import FromPixels
from detnas.models.backbone import Subnet
from detnas.models.detectors.build import Detector, build_detector
from detnas.profiling.latency import profile
from detnas.profiling.latency.around import DetectorAround
from detnas.profiling.latency.backends import Backend, Eager, OnnxRuntime, Runner
from detnas.profiling.latency.table import measure_table
from detnas.run.pipeline import run
from detnas.spaces import Architecture, BudgetSampler, LatencyTable, read_latencies
from detnas.utils.errors import UserError
from detnas.utils.files import read_json, read_json_lines

BUDGET = {"of": "detector", "aspect_ratio": 1.5, "classes": 3}
CHOICES: dict[str, Any] = {
    "space__resolutions": [32, 48],
    "detector__min_size": 48,
    "space__head_ops": ["full", "separable", "skip"],
}


def detectors(type: str, **fields: Any) -> Recipe:
    changes = {"detector__fpn_channels": 16} | CHOICES | fields
    return small_recipe(type, budget=dict(BUDGET), pretraining={"source": "none"}, **changes)


def weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class Simulated(Backend):
    """A clock that a piece advances by its number of weights, and a whole detector by `factor` times all weights."""

    name = "eager"
    device = torch.device("cpu")

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.now = 0.0
        self.factor = factor

    def load(self, network: nn.Module, *examples: Tensor, copies: int = 1) -> list[Runner]:
        return [self._runner(weights(network))] * copies

    def load_detector(self, detector: Detector) -> Runner:
        return self._runner(self.factor * weights(detector))

    def _runner(self, taken: float) -> Runner:
        def run(*inputs: object) -> object:
            self.now += taken
            return inputs[0] if inputs else None

        return run

    def prepare_input(self, images: Tensor) -> int:
        return 0

    def timestamp(self) -> float:
        return self.now

    def elapsed_us(self, timestamps: Any) -> list[float]:
        return [after - before for before, after in pairwise(timestamps)]


@pytest.mark.parametrize("type", ["retinanet", "fpn"])
@pytest.mark.parametrize("choices", [CHOICES, dict.fromkeys(())], ids=["choices", "none"])
def test_the_sum_is_what_a_whole_detector_takes(type: str, choices: dict[str, Any]) -> None:
    """Of networks whose time is their number of weights."""
    recipe = detectors(type) if choices else small_recipe(type, budget=dict(BUDGET), pretraining={"source": "none"})
    side = recipe.search_space().resolution_choices[0]
    around = DetectorAround(recipe, side)
    images = torch.rand(1, 3, *around.parts.size)
    table, correction, check = measure_table(around.space, images, Simulated(1.25), around, 6)
    assert correction.factor == pytest.approx(1.25)
    assert len(check.architectures) == 6 and check.predicted == pytest.approx(check.measured, abs=30)
    # Each of the entries is rounded.
    assert table.size == around.parts.size and table.detector == recipe.timed_detector
    one = around.space.draw(np.random.default_rng(1))
    parts = table.added_to(around.parts)
    whole = build_detector(Subnet(around.space, one), 3, recipe.detector_of(one))
    taken = parts.heads.latency + sum(row[op].latency for row, op in zip(parts.head_rows, one.head_ops, strict=True))
    assert taken == pytest.approx(1.25 * (weights(whole) - weights(whole.backbone.body)), abs=30)


@pytest.fixture(params=["eager", "onnxruntime"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    yield Eager(torch.device("cpu")) if request.param == "eager" else OnnxRuntime()


def boxes(found: Any) -> Tensor:
    """The first output of a runner."""
    first = found[0] if isinstance(found, tuple) else found
    return first if isinstance(first, Tensor) else torch.from_numpy(first.numpy())


@pytest.mark.parametrize("type", ["retinanet", "fpn"])
@torch.inference_mode()
def test_the_pieces_compute_what_the_detector_does(type: str, backend: Backend) -> None:
    around = DetectorAround(detectors(type), 48)
    architecture = around.space.fair_draw(np.random.default_rng(0))[0]
    detector = around.detector(architecture)
    image = backend.prepare_input(around.image)
    expected = FromPixels(detector)(around.image)[0]
    assert 0 < len(expected) <= detector.transform.settings.detections
    whole = boxes(backend.load_detector(around.detector(architecture))(image))
    torch.testing.assert_close(whole, expected, rtol=1e-3, atol=0.05)
    batch, _ = detector.transform([around.image.permute(2, 0, 1).float() / 255])
    before = boxes(backend.load(around.before(), around.image)[0](image))
    assert before.shape[2:] == batch.tensors.shape[2:] == around.parts.size
    maps = around.maps(detector)
    (after,) = backend.load(around.after(detector), *maps)
    found = boxes(after(*map(backend.prepare_input, maps)))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0.05)


def test_each_op_of_the_head_is_measured_beside_the_first() -> None:
    retinanet = DetectorAround(detectors("retinanet", detector__head_convs=2), 32).head_variants
    assert list(retinanet) == [(0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2)]
    assert retinanet[1, 1, 1, 1] == [(place, 1) for place in range(4)]
    wide = DetectorAround(detectors("fpn", detector__box_convs=2, detector__box_channels=24), 32).head_variants
    assert list(wide) == [(0, 0), (1, 0), (0, 1), (0, 2)]  # the first changes the channels and cannot be skipped
    assert list(DetectorAround(small_recipe(budget=dict(BUDGET)), None).head_variants) == [()]


# From the command to a run


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables that nobody measured, and the recipe that they fit."""
    folder = tmp_path_factory.mktemp("latency")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "Eager", lambda device: Simulated(1.5))
        patch.setattr(profile, "missing", lambda: ["onnxruntime"])
        recipe = detectors("retinanet", space__width=0.25)
        said = list(profile.profile_latency(recipe, folder))
    assert said[0].startswith(
        "latency of whole detectors (retinanet, 3 classes) of space tiny-x0.25 at 32x64 and 64x64"
    )
    assert any("whole detectors take 1.500 times the sum" in line for line in said)
    (file,) = folder.iterdir()
    assert file.name == "latency-tiny-x0.25-retinanet-32x64-64x64-eager.json"
    return file


def within(tables: Path, **fields: Any) -> Recipe:
    changes = {"space__width": 0.25, "budget__latencies": str(tables)} | fields
    return detectors("retinanet", **changes)


def test_networks_cost_what_the_table_of_their_resolution_says(tables: Path) -> None:
    recipe = within(tables)
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    of_side = dict(zip((32, 48), read_latencies(tables), strict=True))
    rng = np.random.default_rng(0)
    for _ in range(20):
        one = sampler.sample(rng)
        assert one is not None
        table = of_side[one.resolution or 0]
        blocks = sum(table.of(block, op) for block, op in enumerate(one.ops))
        head = sum(row[op] or 0 for row, op in zip(table.head_us, one.head_ops, strict=True))
        assert sampler.cost(one).latency == table.stem_us + blocks + table.detector_us + head


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"detector__fpn_channels": 24}, "measured with fpn_channels 16, not 24; measure one by"),
        ({"budget__classes": 4}, "measured with classes 3, not 4"),
        ({"space__head_ops": ["full"]}, r"measured with head_ops \['full', 'separable', 'skip'\], not \['full'\]"),
        ({"budget__aspect_ratio": 1.0}, "measured at 32x64 and 64x64 pixels, not at 32x32; .* --data DIR"),
        ({"space__width": 0.5}, "a table of space tiny-x0.25 .* does not fit space tiny-x0.5"),
    ],
)
def test_tables_of_another_detector_are_refused(changes: dict[str, Any], said: str, tables: Path) -> None:
    recipe = within(tables, **changes)
    with pytest.raises(UserError, match=f"budget.latencies: {said}"):
        BudgetSampler(recipe.search_space(), recipe.cost_budget())


def test_tables_of_backbones_and_detectors_are_not_confused(tables: Path, tmp_path: Path) -> None:
    backbones = small_recipe(budget={"of": "backbone", "latencies": str(tables)}, space__width=0.25)
    with pytest.raises(UserError, match=r"those of whole detectors do not fit budget.of backbone"):
        backbones.cost_budget()
    table = LatencyTable(**{**vars(read_latencies(tables)[0]), "detector": None})
    write_table(tmp_path / "table.json", table)
    with pytest.raises(UserError, match=r"those of backbones do not fit budget.of detector"):
        within(tmp_path / "table.json").cost_budget()
    recipe = within(tables)
    with pytest.raises(UserError, match=r"does not have what the head's convolutions can be"):
        LatencyTable(**{**vars(read_latencies(tables)[0]), "head_us": ()}).added_to(recipe.detector_parts(32))


def test_a_run_within_a_latency_says_that_of_its_detectors(
    tables: Path, tmp_path: Path, blocks: Path, shell: Shell
) -> None:
    free = within(tables, budget__classes=2, budget__aspect_ratio=1.0)
    assert free.budget.of == "detector"
    recipe = write_recipe(
        tmp_path / "recipe.yaml",
        "retinanet",
        budget={"of": "detector", "latencies": str(tmp_path / "tables.json"), "latency_min": 0.0},
        pretraining={"source": "none"},
        baselines=["random"],
        detector__fpn_channels=16,
        **CHOICES,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "Eager", lambda device: Simulated(1.0))
        patch.setattr(profile, "missing", lambda: ["onnxruntime"])
        shell(
            "profile",
            recipe,
            "--latency",
            "--data",
            blocks,
            "--out",
            tmp_path / "measured",
            "--set",
            "budget.latencies=null",
            "--set",
            "budget.latency_min=null",
        )
    (file,) = (tmp_path / "measured").iterdir()
    file.rename(tmp_path / "tables.json")
    out = run(str(recipe), tmp_path / "run", blocks)
    rows = read_json_lines(out / "search" / "candidates.jsonl")
    best = read_json(out / "search" / "best.json")
    stored = read_latencies(out / "latencies.json")
    assert stored == read_latencies(tmp_path / "tables.json") and len(stored) == 2
    for row in (*rows, best):
        side = Architecture.parse(row["architecture"]).resolution
        table = stored[(32, 48).index(side or 0)]
        assert row["latency_ms"] >= (table.stem_us + table.detector_us) / 1e3
    assert f"{best['latency_ms']:.3g} ms" in shell("status", out)
