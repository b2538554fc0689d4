"""Candidates of a mobile space, some of whose blocks are left out: what the prefix cache keeps changes no bit."""

from pathlib import Path

import pytest
import torch
import toy_mobile
from small_recipe import small_recipe

from detnas.config import DataSettings
from detnas.data.splits import open_data
from detnas.models.detectors.build import Detector, build_detector
from detnas.models.ops.mbconv import MBConv
from detnas.models.supernet import Supernet
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture

CANDIDATES = [Architecture.parse(text) for text in ("04 1 24 14 3", "04 1 24 04 3", "04 1 22 14 3", "00 1 24 14 3")]
"""In each two stages the second block is left out, some after the same first ops."""


@pytest.fixture(scope="module", params=["retinanet", "fpn"])
def detector(request: pytest.FixtureRequest) -> Detector:
    torch.manual_seed(0)
    recipe = small_recipe(request.param)
    return build_detector(Supernet(toy_mobile.SPACE), 3, recipe.detector)


def evaluator_of(detector: Detector, blocks: Path, cache_mb: int) -> DetectionEvaluator:
    data = open_data(blocks, DataSettings(search_fraction=0.5), seed=3)
    settings, cpu = small_recipe().search, torch.device("cpu")
    return DetectionEvaluator(detector, data.fit, data.search, settings, seed=1, device=cpu, cache_mb=cache_mb)


def test_candidates_are_scored_alike_with_and_without_the_cache(
    detector: Detector, blocks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[MBConv] = []
    compute = MBConv.forward
    monkeypatch.setattr(MBConv, "forward", lambda self, x: computed.append(self) or compute(self, x))
    found, calls = [], []
    for cache_mb in (0, 100):
        evaluator = evaluator_of(detector, blocks, cache_mb)
        found.append([evaluator.evaluate(architecture) for architecture in CANDIDATES])
        assert bool(evaluator.prefixes.maps) == (cache_mb > 0)
        calls.append(len(computed))
        computed.clear()
    assert 0 < calls[1] < calls[0]
    for one, other in zip(*found, strict=True):
        assert one.results and one.results == other.results and one.scores == other.scores


def test_the_maps_are_as_large_as_the_cache_takes_them_for(detector: Detector, blocks: Path) -> None:
    evaluator = evaluator_of(detector, blocks, cache_mb=100)
    evaluator(CANDIDATES[0])
    kept = evaluator.prefixes
    for prefix, maps in kept.maps.items():
        assert sum(one.numel() * one.element_size() for one in maps) == kept.sizes[len(prefix)]
    assert len(kept.maps) == len(kept.sizes) == len(toy_mobile.SPACE.blocks)
