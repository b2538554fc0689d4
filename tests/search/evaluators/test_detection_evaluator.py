"""A candidate's fitness: against a naive re-implementation, without a trace, whatever was evaluated before."""

import contextlib
import copy
import io
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive_candidate import calibrate_naively, inherit_naively, own_norms
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_recipe import assert_same, checkpoint, small_recipe, write_blocks
from torch import nn
from torchvision.models.detection.image_list import ImageList

from detnas.config import DataSettings, Recipe, SearchSettings
from detnas.data.detection import DetectionSet
from detnas.data.images import Images
from detnas.data.splits import RunData, open_data
from detnas.evaluation.evaluate import Evaluation, evaluate
from detnas.models.backbone import Subnet
from detnas.models.detectors.build import Detector, build_detector
from detnas.models.detectors.detect import detect
from detnas.models.ops.shuffle import Op
from detnas.models.supernet import Supernet, extract_subnet
from detnas.run.pipeline import run
from detnas.search.evaluators.custom import Candidate, CustomEvaluator, import_fitness_function
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture, Budget, BudgetSampler
from detnas.utils.errors import UserError

CPU = torch.device("cpu")
ARCHITECTURES = [Architecture.parse(text) for text in ("00 00 0000 00", "31 20 1320 13", "23 33 0132 31")]

Trained = tuple[Recipe, RunData, Detector]


@pytest.fixture(scope="module", params=["retinanet", "fpn"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A supernet after a short training, and data whose search split has boxes that its candidates find."""
    folder = tmp_path_factory.mktemp(request.param)
    blocks = write_blocks(folder / "blocks", train=40, val=2)
    recipe = small_recipe(
        request.param,
        pretraining__source="none",
        supernet_finetune={
            "steps": 40,
            "batch_size": 4,
            "optimizer": "adamw",
            "lr": 8e-3,
            "schedule": "cosine",
            "warmup": 5,
        },
        search__recalibration_batches=3,
        search__recalibration_batch_size=4,
    )
    run(recipe, folder / "run", blocks, stages=("supernet-finetune",))
    detector = build_detector(Supernet(recipe.search_space()), 3, recipe.detector)
    detector.load_state_dict(checkpoint(folder / "run" / "supernet-finetune")["model"])
    data = open_data(blocks, DataSettings(search_fraction=0.5), seed=3)
    return recipe, replace(data, search=with_boxes_found((recipe, data, detector))), detector


def with_boxes_found(trained: Trained) -> DetectionSet:
    """The search split with other boxes: on each image the best three detections of each of `ARCHITECTURES`.

    Their scores are then well above zero, whatever a short training has learned of the blocks.
    """
    search = trained[1].search
    fitness = fitness_of(trained)
    best: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in search.image_ids}
    for architecture in ARCHITECTURES:
        ranked = sorted(fitness.evaluate(architecture).results, key=lambda row: -row["score"])
        for image_id, rows in best.items():
            rows += [row for row in ranked if row["image_id"] == image_id and min(row["bbox"][2:]) > 1][:3]
    rows = [row for rows in best.values() for row in rows]
    label_of = {category.id: label for label, category in enumerate(search.categories)}
    boxes = np.array([row["bbox"] for row in rows])
    return replace(
        search,
        boxes=boxes,
        labels=np.array([label_of[row["category_id"]] for row in rows]),
        areas=boxes[:, 2] * boxes[:, 3],
        crowd=np.zeros(len(rows), bool),
        starts=np.cumsum([0, *map(len, best.values())]),
    )


def exact(trained: Trained) -> Trained:
    """The same, whose detector computes in float64: no order of detections hangs on how sums are rounded."""
    recipe, data, detector = trained
    return recipe, data, in_float64(copy.deepcopy(detector))


def in_float64(detector: Detector) -> Detector:
    def convert(module: nn.Module, inputs: Any, output: Any) -> Any:
        images, targets = output
        return ImageList(images.tensors.double(), images.image_sizes), targets

    detector.transform.register_forward_hook(convert)
    return detector.double()


def fitness_of(trained: Trained, seed: int = 1, cache_mb: int = 100, **changes: object) -> DetectionEvaluator:
    recipe, data, detector = trained
    settings = SearchSettings(**{**recipe.search.model_dump(), **changes})
    return DetectionEvaluator(detector, data.fit, data.search, settings, seed=seed, device=CPU, cache_mb=cache_mb)


def naive_fitness(
    trained: Trained, architecture: Architecture, calibration: list[Path], batch_size: int
) -> list[float]:
    """Of the subnet and its statistics made by hand, image by image, in float64, by pycocotools."""
    recipe, data, supernet = trained
    model = in_float64(build_detector(Subnet(recipe.search_space(), architecture), 3, recipe.detector))
    inherit_naively(model, supernet, architecture)
    starts = range(0, len(calibration), batch_size)
    calibrate_naively(model, ([decoded(file) for file in calibration[start : start + batch_size]] for start in starts))
    model.eval()
    results = []
    for file, image_id in zip(data.search.files, data.search.image_ids, strict=True):
        with torch.no_grad():
            (found,) = model([decoded(file)])
        for box, score, label in zip(*(found[name].tolist() for name in ("boxes", "scores", "labels")), strict=True):
            category = {0: 0, 1: 7, 2: 90}[label - (recipe.detector.type == "fpn")]
            x1, y1, x2, y2 = box
            entry = {"image_id": image_id, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            results.append(entry)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = data.search.ground_truth()
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats[:3]]


def decoded(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255


@pytest.mark.learns
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_fitness_is_that_of_a_naive_re_implementation(trained: Trained, architecture: Architecture) -> None:
    fitness = fitness_of(exact(trained))
    scores = fitness.evaluate(architecture).scores
    files = [Path(file) for file in fitness.calibration.data.files]
    assert len(files) == 12 and set(files) <= set(trained[1].fit.files)
    by_hand = naive_fitness(trained, architecture, files, batch_size=4)
    assert [scores[name] for name in ("mAP", "AP50", "AP75")] == pytest.approx(by_hand, abs=1e-6)
    assert by_hand[1] > 0.01  # or this compares nothing


def test_fitness_does_not_depend_on_the_order(trained: Trained) -> None:
    forward, backward = fitness_of(trained), fitness_of(trained)
    first = {architecture: forward.evaluate(architecture) for architecture in ARCHITECTURES}
    torch.manual_seed(5)
    second = {architecture: backward.evaluate(architecture) for architecture in reversed(ARCHITECTURES)}
    again = forward.evaluate(ARCHITECTURES[0])
    for architecture in ARCHITECTURES:
        assert first[architecture].results == second[architecture].results
        assert first[architecture].scores == second[architecture].scores
    assert again.results == first[ARCHITECTURES[0]].results
    assert len({str(evaluation.results) for evaluation in first.values()}) == len(ARCHITECTURES)


def test_images_for_recalibration_are_drawn_from_the_training_part_by_seed(trained: Trained) -> None:
    one, same, other = fitness_of(trained), fitness_of(trained), fitness_of(trained, seed=2)
    assert one.calibration.data.files == same.calibration.data.files != other.calibration.data.files
    assert not set(one.calibration.data.files) & set(trained[1].search.files)
    fit = len(trained[1].fit)
    many = fitness_of(trained, recalibration_batches=13, recalibration_batch_size=4)  # more than there are
    counts = [many.calibration.data.files.count(file) for file in trained[1].fit.files]
    assert fit == 20 and sum(counts) == 52 and set(counts) == {2, 3}


def test_a_search_on_fewer_images_takes_some_of_the_search_split(trained: Trained) -> None:
    fitness = fitness_of(trained, images=5)
    assert len(fitness.evaluated.data) == len(fitness.search) == 5
    assert set(fitness.search.image_ids) < set(trained[1].search.image_ids)
    found = {row["image_id"] for row in fitness.evaluate(ARCHITECTURES[0]).results}
    assert found == set(fitness.search.image_ids)
    assert fitness_of(trained, images=500).search.image_ids == trained[1].search.image_ids


def test_recalibration_is_what_makes_a_candidate_work(trained: Trained) -> None:
    """Without it the statistics are those of other paths, and the detections are others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detnas.search.evaluators.detection.recalibrate", lambda candidate, _: candidate.eval())
        without = fitness_of(trained, cache_mb=0).evaluate(ARCHITECTURES[1])
    assert without.results != fitness_of(trained).evaluate(ARCHITECTURES[1]).results


RELATED = [Architecture.parse(text) for text in ("31 20 1320 13", "31 20 0320 13", "31 20 0322 13", "32 20 0322 13")]
"""Each begins as the one before it, less and less far."""


def whole_passes(trained: Trained, fitness: DetectionEvaluator, architecture: Architecture) -> Evaluation:
    """The candidate from the decoded images, by whole forward passes."""
    candidate = extract_subnet(trained[2], architecture).eval()
    for norm in own_norms(candidate).values():
        norm.train().reset_running_stats()
        norm.momentum = None
    files = [decoded(file) for file in fitness.calibration.data.files]
    with torch.no_grad():
        for start in range(0, len(files), 4):
            candidate(files[start : start + 4])
    return evaluate(candidate, fitness.search, Images(fitness.search.files, 10), batch_size=4, device=CPU)


def test_what_is_kept_changes_no_bit(trained: Trained) -> None:
    order = (RELATED[0], RELATED[2], RELATED[3], RELATED[0])
    expected = [whole_passes(trained, fitness_of(trained), architecture) for architecture in order]
    for cache_mb in (0, 2, 4, 100):  # nothing is kept, inputs, some of the maps too, all of them
        fitness = fitness_of(trained, cache_mb=cache_mb, batch_size=4)
        assert (fitness.calibration.batches is None, fitness.evaluated.batches is None) == (cache_mb == 0,) * 2
        for architecture, other in zip(order, expected, strict=True):
            one = fitness.evaluate(architecture)
            assert one.results == other.results and one.scores == other.scores
            assert bool(fitness.prefixes.maps) == (cache_mb > 2)


def test_a_candidate_computes_only_what_none_before_it_has_computed(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    compute = Op.forward
    monkeypatch.setattr(Op, "forward", lambda self, x: computed.append(1) or compute(self, x))
    fitness = fitness_of(trained, batch_size=4)
    passes = 3 + 5  # batches for recalibration, and of the search split
    for architecture, blocks in zip((*RELATED, RELATED[3]), (10, 6, 3, 9, 1), strict=True):
        fitness(architecture)
        assert len(computed) == passes * blocks
        computed.clear()


def test_the_maps_kept_stay_within_their_room_and_each_prefix_with_its_beginnings(trained: Trained) -> None:
    fitness = fitness_of(trained, cache_mb=4, batch_size=4)
    prefixes = fitness.prefixes
    rng = np.random.default_rng(0)
    for _ in range(8):
        fitness(trained[0].search_space().architecture(rng.integers(2, size=10).tolist()))
        taken = sum(one.numel() * one.element_size() for maps in prefixes.maps.values() for one in maps)
        assert taken == sum(prefixes.sizes[len(prefix)] for prefix in prefixes.maps)
        assert max(prefixes.sizes) < taken <= prefixes.room < 4e6
        assert all(prefix[:depth] in prefixes.maps for prefix in prefixes.maps for depth in range(len(prefix)))


def test_no_maps_are_kept_where_memory_is_short(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    for available, kept in ((4_000_000, False), (40_000_000, True), (None, True)):
        monkeypatch.setattr(
            "detnas.search.evaluators.detection.available_memory", lambda available=available: available
        )
        fitness = fitness_of(trained)
        fitness(ARCHITECTURES[0])
        assert bool(fitness.prefixes.maps) == kept


def test_a_candidate_that_failed_leaves_no_maps(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    fitness = fitness_of(trained)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("detnas.search.evaluators.detection.detect", raise_interrupt)
        fitness(ARCHITECTURES[0])
    assert not fitness.prefixes.maps
    assert fitness.evaluate(ARCHITECTURES[0]).results == fitness_of(trained).evaluate(ARCHITECTURES[0]).results


def raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_other_statistics_are_those_of_the_given_images(trained: Trained) -> None:
    """The same as its own, if these are given; as of a naive computation for others; and no trace of any."""
    fitness = fitness_of(exact(trained))
    architecture = ARCHITECTURES[1]
    before = fitness.evaluate(architecture)
    assert fitness.evaluate_with(architecture, fitness.calibration).results == before.results
    other = fitness.draw_other_calibration()
    files = [Path(file) for file in other.data.files]
    assert (
        len(files) == 12
        and other.data.files != fitness.calibration.data.files
        and set(files) <= set(trained[1].fit.files)
    )
    by_hand = naive_fitness(trained, architecture, files, batch_size=4)
    found = fitness.evaluate_with(architecture, other).scores
    assert [found[name] for name in ("mAP", "AP50", "AP75")] == pytest.approx(by_hand, abs=1e-6)
    assert list(fitness.draw_other_calibration().data.files) == list(other.data.files)
    assert fitness.evaluate(architecture).results == before.results


def test_without_recalibration_a_candidate_has_the_supernets_statistics(trained: Trained) -> None:
    fitness = fitness_of(trained)
    candidate = extract_subnet(trained[2], ARCHITECTURES[1]).eval()
    found = [one for images in fitness.evaluated for one in detect(candidate, images, CPU)]
    scores = fitness.evaluate_with(ARCHITECTURES[1], None).results
    assert len(scores) == sum(len(one.scores) for one in found) > 0
    assert [one["score"] for one in scores] == pytest.approx([float(s) for one in found for s in one.scores], abs=1e-4)


def test_a_custom_fitness_is_given_the_candidate_that_detection_evaluates(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Candidate] = []

    def ap50(candidate: Candidate) -> float:
        seen.append(candidate)
        score = candidate.evaluation.scores["AP50"] or 0.0
        for tensor in candidate.detector.parameters():
            tensor.data.zero_()  # reaches no other candidate
        return score

    functions = types.ModuleType("custom_functions")
    functions.ap50, functions.macs = ap50, lambda candidate: -candidate.cost.macs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "custom_functions", functions)
    recipe, _, supernet = trained
    sampler = BudgetSampler(recipe.search_space(), Budget())
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    evaluator = CustomEvaluator("custom_functions:ap50", fitness_of(trained), sampler)
    for architecture in (ARCHITECTURES[1], ARCHITECTURES[2], ARCHITECTURES[1]):
        evaluation = fitness_of(trained).evaluate(architecture)
        assert evaluator(architecture) == evaluation.scores | {"custom_functions:ap50": evaluation.scores["AP50"]}
        assert seen[-1].evaluation == evaluation and seen[-1].architecture == architecture
    assert_same(before, dict(supernet.state_dict()))
    # What is not asked for is not computed.
    monkeypatch.setattr("detnas.search.evaluators.detection.detect", None)
    macs = recipe.search_space().cost(ARCHITECTURES[1]).macs
    cheap = CustomEvaluator("custom_functions:macs", fitness_of(trained), sampler)
    assert cheap(ARCHITECTURES[1]) == {"custom_functions:macs": -macs}


def test_a_custom_fitness_that_is_no_function_is_refused() -> None:
    with pytest.raises(UserError, match=r"search.fitness: detnas.version:__version__ is no function"):
        import_fitness_function("detnas.version:__version__")
    with pytest.raises(UserError, match=r"search.fitness: nowhere:score cannot be imported"):
        import_fitness_function("nowhere:score")
