"""Fitness by accuracy: against a naive re-implementation, without a trace, whatever was evaluated before."""

import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive_candidate import calibrate_naively, inherit_naively
from PIL import Image
from small_recipe import COLORS, checkpoint, small_recipe, training, write_blocks
from test_detection_evaluator import ARCHITECTURES, decoded
from torchvision.transforms.v2 import functional

from detnas.config import Recipe, SearchSettings
from detnas.data.classification import ClassificationSet, Part
from detnas.data.splits import RunData, open_data
from detnas.models.backbone import Subnet
from detnas.models.classifier import Classifier
from detnas.models.supernet import Supernet
from detnas.run.pipeline import run
from detnas.search.evaluators.classification import Batches, ClassificationEvaluator
from detnas.spaces import Architecture
from detnas.training.tasks import ClassificationTask

CPU = torch.device("cpu")
PARTS: tuple[Part, ...] = ("train", "fit", "search")


@dataclass
class Trained:
    """A supernet classifier after a few steps, and what it was trained on."""

    recipe: Recipe
    data: RunData
    classes: ClassificationSet
    classifier: Classifier

    def accuracy(self, seed: int = 1, cache_mb: int = 100, **changes: object) -> ClassificationEvaluator:
        fit, search = (self.classes.samples(part, None, cache_mb=0) for part in ("fit", "search"))
        detector = self.recipe.detector
        task = ClassificationTask(fit, 0.0, detector)
        settings = SearchSettings(**{**self.recipe.search.model_dump(), **changes})
        inputs = partial(task.inputs, device=CPU)
        return ClassificationEvaluator(self.classifier, fit, search, inputs, settings, seed=seed, cache_mb=cache_mb)


def write_noise(folder: Path) -> None:
    """An image folder of three classes of a color each, 20 images a class, with noise: no two parts are alike.

    The noise is one level of 255, since a deep network with fresh weights amplifies it until it hides the color.
    """
    rng = np.random.default_rng(0)
    for category, color in COLORS.items():
        (folder / f"c{category}").mkdir(parents=True)
        for number in range(20):
            noise = rng.integers(0, 2, (40, 50, 3)) + np.array(color)
            Image.fromarray(noise.astype(np.uint8)).save(folder / f"c{category}" / f"{number}.png")


@pytest.fixture(scope="module", params=["folder", "crops"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp(request.param)
    write_noise(write_blocks(folder, train=40, val=2) / "classes")
    recipe = small_recipe(
        **{"pretraining__source": request.param, "pretraining__folder": "classes"},
        search__fitness="classification",
        search__recalibration_batches=3,
        search__recalibration_batch_size=4,
        pretraining__search_fraction=0.4,
        supernet_pretrain=training(steps=10, batch_size=8, lr=4e-3),
    )
    run(recipe, folder / "run", folder, stages=("supernet-pretrain",))
    data = open_data(folder, recipe.data, recipe.seed)
    classes = ClassificationSet(recipe, data)
    classifier = Classifier(Supernet(recipe.search_space()), classes.num_classes, 16)
    classifier.load_state_dict(checkpoint(folder / "run" / "supernet-pretrain")["model"])
    return Trained(recipe, data, classes, classifier)


def naive_subnet(trained: Trained, architecture: Architecture) -> Classifier:
    model = Classifier(Subnet(trained.recipe.search_space(), architecture), trained.classes.num_classes, 16)
    inherit_naively(model, trained.classifier, architecture)
    return model


def normalized(images: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images / 255 - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize("trained", ["folder"], indirect=True)
@pytest.mark.parametrize("architecture", ARCHITECTURES[1:], ids=str)
def test_accuracy_is_that_of_a_naive_re_implementation(trained: Trained, architecture: Architecture) -> None:
    """From the files on: the middle of each image, the subnet built by hand, image by image."""

    def middle(path: Path) -> torch.Tensor:
        resized = functional.resize((decoded(path) * 255).round().byte(), [37, 46], antialias=True)  # 37: 8/7 of 32
        return normalized(resized[:, 2:34, 7:39].float())

    trained = taught(trained, ARCHITECTURES[1])
    accuracy = trained.accuracy()
    classes = trained.classes
    model = naive_subnet(trained, architecture)
    drawn = [classes.files[classes.indices["fit"][index]] for index, _ in accuracy.calibration.keys]
    assert len(drawn) == 12
    images = [middle(file) for file in drawn]
    calibrate_naively(model, [torch.stack(images[start : start + 4]) for start in (0, 4, 8)])
    with torch.no_grad():
        right = [
            int(model(middle(classes.files[index])[None]).argmax()) == classes.labels[index]
            for index in classes.indices["search"]
        ]
    assert len(right) == 24
    assert accuracy(architecture) == {"accuracy": sum(right) / 24}


def taught(trained: Trained, architecture: Architecture, shift: int = 0) -> Trained:
    """The same, with a last layer by which the candidate tells the classes of the training images, plus `shift`.

    It is fitted by least squares to the features that the candidate computes of them. The classes differ in color: any
    weights make features of which this is possible, so that no result hangs on what a training has learned.
    """
    accuracy = trained.accuracy()
    model = naive_subnet(trained, architecture)
    calibrate_naively(model, [accuracy.inputs(images) for images, _ in accuracy.calibration])
    fit = trained.classes.samples("fit", None, cache_mb=0)
    images, labels = zip(*(fit[index, 0] for index in range(len(fit))), strict=True)
    classes = torch.nn.functional.one_hot((torch.tensor(labels) + shift) % 3).double()
    classifier = copy.deepcopy(trained.classifier)
    last = classifier.head[-1]
    with torch.no_grad():
        features = model.head[:-1](model.backbone(accuracy.inputs(torch.stack(images)))[-1]).double()
        mean = features.mean(0)
        features, targets = features - mean, classes - classes.mean(0)
        ridge = 1e-4 * features.square().sum() * torch.eye(features.shape[1])
        last.weight.copy_(torch.linalg.solve(features.T @ features + ridge, features.T @ targets).T)
        last.bias.copy_(classes.mean(0) - last.weight.double() @ mean)
    return replace(trained, classifier=classifier)


@pytest.mark.learns
@pytest.mark.parametrize("trained", ["folder"], indirect=True)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_a_candidate_that_tells_the_classes_is_right(trained: Trained, architecture: Architecture) -> None:
    assert taught(trained, architecture).accuracy()(architecture)["accuracy"] > 0.8
    assert taught(trained, architecture, shift=1).accuracy()(architecture)["accuracy"] < 0.1


def test_accuracy_does_not_depend_on_the_order_nor_on_what_is_kept(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits: list[torch.Tensor] = []
    forward = Classifier.forward

    def spied(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        logits.append(forward(self, images))
        return logits[-1]

    def logits_of(accuracy: ClassificationEvaluator, architecture: Architecture) -> torch.Tensor:
        logits.clear()
        accuracy(architecture)
        return torch.cat(logits)

    monkeypatch.setattr(Classifier, "forward", spied)
    one, other = trained.accuracy(), trained.accuracy(cache_mb=0)
    assert one.evaluated.kept is not None and other.evaluated.kept is None
    first = {architecture: logits_of(one, architecture) for architecture in ARCHITECTURES}
    torch.manual_seed(5)
    second = {architecture: logits_of(other, architecture) for architecture in reversed(ARCHITECTURES)}
    assert all(torch.equal(first[architecture], second[architecture]) for architecture in ARCHITECTURES)
    assert torch.equal(logits_of(one, ARCHITECTURES[0]), first[ARCHITECTURES[0]])
    assert not torch.equal(first[ARCHITECTURES[0]], first[ARCHITECTURES[1]])


def test_images_are_drawn_by_seed_and_limited_by_the_recipe(trained: Trained) -> None:
    one, same, other = trained.accuracy(), trained.accuracy(), trained.accuracy(seed=2)
    assert one.calibration.keys == same.calibration.keys != other.calibration.keys
    few = trained.accuracy(images=5)
    assert len(few.evaluated.keys) == 5 and {index for index, _ in few.evaluated.keys} < set(
        range(len(few.evaluated.samples))
    )
    assert len(one.evaluated.keys) == len(one.evaluated.samples)
    many = trained.accuracy(recalibration_batches=25, recalibration_batch_size=4)
    counts = [
        [index for index, _ in many.calibration.keys].count(index) for index in range(len(many.calibration.samples))
    ]
    assert sum(counts) == 100 and max(counts) - min(counts) == 1


def test_the_parts_share_no_image(trained: Trained) -> None:
    if trained.recipe.pretraining.source == "folder":
        parts = {part: {trained.classes.files[i] for i in trained.classes.indices[part]} for part in PARTS}
        assert len(parts["search"]) == 24 and len(parts["fit"]) == 36
    else:
        parts = {part: set(trained.classes.samples(part, None, 0).images.files) for part in PARTS}
    assert not parts["fit"] & parts["search"] and parts["fit"] | parts["search"] == parts["train"]


@pytest.mark.parametrize("trained", ["folder"], indirect=True)
def test_an_image_of_a_folder_is_evaluated_by_its_middle(trained: Trained) -> None:
    evaluated = trained.classes.samples("search", None, cache_mb=100)
    changed = trained.classes.samples("search", trained.recipe.supernet_pretrain, cache_mb=100)
    assert torch.equal(evaluated[3, 1][0], evaluated[3, 2][0])
    assert not torch.equal(changed[3, 1][0], changed[3, 2][0])


@pytest.mark.parametrize("trained", ["crops"], indirect=True)
def test_crops_are_evaluated_without_flips_or_other_colors(trained: Trained) -> None:
    evaluated = trained.classes.samples("search", None, cache_mb=100)
    still = trained.recipe.supernet_pretrain.model_copy(update={"flip": 0.0, "color_jitter": 0.0})
    flipped = trained.recipe.supernet_pretrain.model_copy(update={"flip": 1.0, "color_jitter": 0.0})
    for index in range(len(evaluated)):
        assert torch.equal(evaluated[index, 1][0], trained.classes.samples("search", still, 100)[index, 1][0])
    assert not torch.equal(evaluated[0, 1][0], trained.classes.samples("search", flipped, 100)[0, 1][0])


def test_batches_that_are_kept_are_those_prepared_again() -> None:
    class Samples:
        def __init__(self) -> None:
            self.read = 0

        def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
            self.read += 1
            return torch.full((3, 100, 100), key[0] * 10 + key[1], dtype=torch.uint8), key[0]

    keys = [(0, 1), (2, 3), (1, 5)]
    found: list[Any] = []
    for cache_mb, reads in ((0, 1 + 2 * 3), (1, 1 + 3)):
        samples = Samples()
        batches = Batches(samples, keys, 2, cache_mb)
        found.append([[(p[:, :, 0, 0].tolist(), c.tolist()) for p, c in batches] for _ in range(2)])
        assert samples.read == reads
    assert found[0] == found[1] and found[0][0] == found[0][1]
    assert found[0][0] == [([[1] * 3, [23] * 3], [0, 2]), ([[15] * 3], [1])]
