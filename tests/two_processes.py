"""The computations of two processes, for tests that compare them with those of one process.

`python two_processes.py OUT DATA` starts two processes as torchrun would, but faster. Each calls `work` and writes its
result to the file OUT.RANK. DATA is the folder of the colored blocks.
"""

import hashlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import toy_mobile
from small_recipe import small_recipe
from torch import nn
from torch.utils.data import Dataset

from detnas.config import DataSettings, Recipe, TrainingSettings
from detnas.data.batches import iterate_batches
from detnas.data.splits import open_data
from detnas.distributed import comm
from detnas.models.backbone import find_backbone
from detnas.models.classifier import Classifier
from detnas.models.detectors.build import build_detector
from detnas.models.supernet import Supernet
from detnas.run.auto import fit_auto
from detnas.search.evaluators.classification import ClassificationEvaluator
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture
from detnas.training.data_parallel import average_gradients, check_batches, prepare_data_parallel
from detnas.training.loop import one_pass, train_step
from detnas.training.state import TrainingState
from detnas.training.tasks import ClassificationTask
from detnas.utils.errors import UserError

CPU = torch.device("cpu")
SIZE = 64
BOXES = (1, 1, 3, 2)
"""Boxes on each of four images. The two halves of the batch have different numbers of positive anchors."""
KINDS = ("classifier", "retinanet", "retinanet by torchvision", "fpn", "mobile")


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"steps": 10, "batch_size": 4, "lr": 0.1, "clip_norm": 0.01, **changes})


def model_of(kind: str, seed: int = 0) -> nn.Module:
    """A model without randomness: without dropout, and with so few anchors that all are sampled.

    In float64, since small networks with many BN layers amplify the rounding errors of float32 in their gradients.
    """
    torch.manual_seed(seed)
    changes: dict[str, Any] = {"detector__min_size": SIZE}
    name = "fpn" if kind == "fpn" else "retinanet"
    if kind == "retinanet by torchvision":
        changes["detector__losses"] = "torchvision"
    if kind == "fpn":
        numbers = ("rpn_candidates_train", "proposals_train", "rois")
        changes |= {f"detector__{number}": 2000 for number in numbers}
    recipe = small_recipe(name, **changes)
    backbone = Supernet(toy_mobile.SPACE if kind == "mobile" else recipe.search_space())
    backbone.activate(toy_mobile.ARCHITECTURE if kind == "mobile" else Architecture.parse("01 23 0123 32"))
    if kind == "classifier":
        classifier = Classifier(backbone, 3, head_channels=8, dropout=0.0).train().double()
        classifier.register_forward_pre_hook(lambda module, images: images[0].double())
        return classifier
    detector = build_detector(backbone, 3, recipe.detector).train().double()
    if kind == "fpn":
        detector.rpn.fg_bg_sampler.batch_size_per_image = 2000
        detector.rpn.nms_thresh = 1.0
    return detector


class FixedDetection:
    """A detection task without augmentation."""

    def losses(self, model: nn.Module, batch: Any, device: torch.device) -> Any:
        return model([image for image, _ in batch], [target for _, target in batch]), {}


def batch_of(kind: str) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    samples: list[Any] = []
    for number, boxes in enumerate(BOXES):
        image = torch.rand(3, SIZE, SIZE, generator=generator, dtype=torch.float64)
        if kind == "classifier":
            samples.append(((image * 255).to(torch.uint8), number % 3))
            continue
        corners = torch.randint(0, 30, (boxes, 2), generator=generator).double()
        sides = torch.randint(10, 34, (boxes, 2), generator=generator).double()
        labels = torch.randint(1, 3, (boxes,), generator=generator)
        samples.append((image, {"boxes": torch.cat((corners, corners + sides), 1), "labels": labels}))
    return samples


def stepped(kind: str, sync_bn: bool, training: TrainingSettings) -> dict[str, Any]:
    """One training step on this process's part of the batch: its figures, gradients, and the state after it."""
    model = model_of(kind, seed=comm.rank())  # the weights of rank 0 are broadcast
    prepare_data_parallel(model, sync_bn)
    task: Any = FixedDetection()
    batch: Any = comm.shard(batch_of(kind))
    if kind == "classifier":
        task = ClassificationTask(None, 0.1, small_recipe().detector)
        batch = task.collate(batch)
    figures = train_step(TrainingState(model, training), task, batch, CPU, one_pass(0))
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"figures": figures, "gradients": gradients, "state": dict(model.state_dict())}


def steps() -> dict[str, Any]:
    """A step with synchronized BN, of each kind of model."""
    return {kind: stepped(kind, True, settings()) for kind in KINDS}


def without_sync_bn() -> dict[str, Any]:
    """A step in which each process normalizes its own part of the batch."""
    return stepped("classifier", False, settings())


def summed_paths() -> dict[str, Any]:
    """The gradients of a step with two paths, without clipping."""
    model = model_of("retinanet")
    prepare_data_parallel(model, sync_bn=True)
    supernet = find_backbone(model)
    assert isinstance(supernet, Supernet)

    def passes() -> Any:
        for op in ("shuffle5", "xception"):
            supernet.activate(supernet.space.uniform(op))
            yield

    training = settings(clip_norm=None)
    batch = comm.shard(batch_of("retinanet"))
    train_step(TrainingState(model, training), FixedDetection(), batch, CPU, passes())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def out_of_step() -> str:
    """The error if the processes ran different paths."""
    model = model_of("classifier")
    supernet = find_backbone(model)
    assert isinstance(supernet, Supernet)
    supernet.activate(supernet.space.uniform(("shuffle3", "xception")[comm.rank()]))
    model(torch.rand(2, 3, SIZE, SIZE)).sum().backward()
    try:
        average_gradients(TrainingState(model, settings()), torch.zeros(1))
    except RuntimeError as error:
        return str(error)
    return ""


def not_finite() -> float:
    """The mean of a figure that is NaN in one process."""
    linear = nn.Linear(1, 1)
    linear(torch.ones(1, 1)).sum().backward()
    return average_gradients(
        TrainingState(linear, settings()), torch.tensor([float("nan") if comm.rank() else 1.0])
    ).item()


def keys() -> list[Any]:
    class Keys(Dataset[Any]):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, key: Any) -> Any:
            return key

    return list(iterate_batches(Keys(), list, batch_size=6, seed=0, start=3, stop=8, workers=0))


def messages() -> dict[str, Any]:
    """The messages between processes, and the errors that all of them raise."""
    found: dict[str, Any] = {
        "from main": comm.broadcast_from_main(lambda: {"rank": comm.rank(), "third": 1 / 3, "none": None}),
        "nothing": comm.broadcast_bytes(lambda: b"").decode(),
        "gathered": [text.decode() for text in comm.all_gather_bytes(b"ab" * comm.rank())],
        "sum": comm.all_reduce_int(comm.rank() + 1),
    }
    refusals: dict[str, Callable[[], object]] = {
        "of the main process": lambda: comm.broadcast_from_main(lambda: refuse("no file")),
        "of one": lambda: refuse_on_rank(1),
        "of none": lambda: refuse_on_rank(2),
        "other data": lambda: comm.check_same_on_all_ranks("data set", ("a", "b")[comm.rank()]),
        "same data": lambda: comm.check_same_on_all_ranks("data set", "a"),
        "batches": lambda: check_batches(small_recipe(pretrain__batch_size=5)),
        "even batches": lambda: check_batches(small_recipe(pretrain__batch_size=6)),
    }
    for name, call in refusals.items():
        try:
            call()
            found[name] = None
        except UserError as error:
            found[name] = str(error)
    return found


def refuse(why: str) -> None:
    raise UserError(f"{why} in process {comm.rank()}")


def refuse_on_rank(rank: int) -> None:
    with comm.raise_on_all_ranks():
        if comm.rank() == rank:
            refuse("no data")


def evaluate_candidates(kind: str, data: Path, images: int) -> list[Any]:
    """The evaluations of two candidates."""
    recipe: Recipe = small_recipe("fpn" if kind == "fpn" else "retinanet", search__images=images)
    space = toy_mobile.SPACE if kind == "mobile" else recipe.search_space()
    candidates = [space.uniform(op) for op in ("shuffle3", "xception") if op in space.ops]
    candidates = candidates or [toy_mobile.ARCHITECTURE, space.uniform("mbconv3_k5")]
    torch.manual_seed(0)
    supernet = build_detector(Supernet(space), 3, recipe.detector)
    sets = open_data(data, DataSettings(search_fraction=0.5), seed=0)
    fitness = DetectionEvaluator(supernet, sets.fit, sets.search, recipe.search, seed=1, device=CPU, cache_mb=10)
    found = [fitness.evaluate(candidate) for candidate in candidates]
    return [(one.scores, one.per_class, one.results) for one in found]


def evaluations(data: Path) -> dict[str, Any]:
    """Evaluations with both detectors on three batches, and on fewer batches than processes."""
    return {
        "retinanet": evaluate_candidates("retinanet", data, 11),
        "fpn": evaluate_candidates("fpn", data, 11),
        "mobile": evaluate_candidates("mobile", data, 11),
        "one batch": evaluate_candidates("retinanet", data, 3),
    }


def anchors(data: Path) -> list[int]:
    """The sizes of anchors that fit the training images, in a process that sees others too."""
    sets = open_data(data, DataSettings(), seed=0)
    recipe = fit_auto(small_recipe(detector__anchor_sizes="auto"), sets.search if comm.rank() else sets.train)
    return list(recipe.detector.anchor_sizes)


class ColoredSamples:
    """Images of three classes for a classifier."""

    def __len__(self) -> int:
        return 13

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        generator = torch.Generator().manual_seed(key[0])
        return torch.randint(0, 256, (3, 32, 32), generator=generator).to(torch.uint8), key[0] % 3


def accuracies() -> list[Any]:
    """The accuracies of candidates on four batches, the last of which is smaller."""
    recipe = small_recipe()
    torch.manual_seed(0)
    classifier = Classifier(Supernet(recipe.search_space()), 3, head_channels=8)
    samples = ColoredSamples()
    to_inputs = torch.Tensor.float
    evaluator = ClassificationEvaluator(classifier, samples, samples, to_inputs, recipe.search, seed=1, cache_mb=1)
    return [evaluator(recipe.search_space().uniform(op)) for op in ("shuffle3", "shuffle5", "shuffle7", "xception")]


def hash_state(state: dict[str, Any]) -> str:
    """A hash that differs if the states differ by a bit."""
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values())).hexdigest()


def work(data: Path) -> dict[str, Any]:
    found = {
        "steps": steps(),
        "without sync_bn": without_sync_bn(),
        "summed paths": summed_paths(),
        "out of step": out_of_step(),
        "not finite": not_finite(),
        "keys": keys(),
        "messages": messages(),
        "anchors": anchors(data),
        "evaluations": evaluations(data),
        "accuracies": accuracies(),
    }
    stepped = found["steps"] | {"without sync_bn": found["without sync_bn"]}
    found["states"] = {name: hash_state(one["state"]) for name, one in stepped.items()}
    return found


def main(out: Path, data: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    count = 2
    os.environ.update(TORCHELASTIC_RUN_ID="test", WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            with comm.process_group():
                torch.save(work(data), out.with_name(f"{out.name}.{rank}"))
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
