"""Standalone training of networks: on classification, then on detection, then their evaluation."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from detnas.config.beginnings import is_pretrained
from detnas.data.images import Images
from detnas.distributed import comm
from detnas.evaluation.evaluate import Evaluation, evaluate
from detnas.evaluation.headline import headline
from detnas.models.backbone import Subnet
from detnas.models.create import Network, find_network
from detnas.models.detectors.build import Detector
from detnas.models.weights import DetectorInfo, save_detector
from detnas.models.weights_header import is_intact
from detnas.run.context import Run
from detnas.run.costs import detector_cost, network_cost
from detnas.run.sharing import share
from detnas.rundir.directory import file_digests
from detnas.rundir.layout import (
    DETECTIONS,
    EVALUATION,
    FINETUNE,
    PRETRAIN,
    TRAINING_DONE,
    WEIGHTS,
    WINNER,
    NetworkEvaluation,
    network_lock,
)
from detnas.spaces import Architecture
from detnas.training.metrics_log import log_scores
from detnas.utils.resource_errors import explain_out_of_memory


def is_trained_standalone(run: Run, architecture: Architecture) -> bool:
    """Whether nothing is left to do for `train_standalone`."""
    name, make_backbone = architecture.hyphenated, partial(run.subnet, architecture)
    is_ready = not is_pretrained(run.recipe, name) or run.is_trained(f"{PRETRAIN}/{name}", lambda: False)
    return is_ready and is_finished(run, name, make_backbone)


def train_standalone(run: Run, architecture: Architecture) -> None:
    """Train one architecture by the schedule of the winner, as far as that is not done, and evaluate it."""
    networks = {architecture.hyphenated: partial(run.subnet, architecture)}
    pretrain_networks(run, networks)
    finetune_networks(run, networks)


def pretrain_networks(run: Run, networks: Mapping[str, Callable[[], Network]]) -> None:
    """Train networks on classification, each from scratch, as far as the recipe pre-trains them; workers share them."""

    def is_needed(name: str) -> bool:
        return not is_finished(run, name, networks[name]) and run.begins(f"{FINETUNE}/{name}")

    def work(name: str) -> None:
        settings = run.recipe.pretrain
        task, num_classes = run.classification(settings, "train")
        run.train(run.classifier(networks[name], num_classes), task, settings, f"{PRETRAIN}/{name}")

    share(
        [name for name in networks if is_pretrained(run.recipe, name)],
        work,
        is_done=lambda name: run.is_trained(f"{PRETRAIN}/{name}", lambda: is_needed(name)),
        lock=lambda name: network_lock(run.directory, f"{PRETRAIN}-{name}"),
        log=run.progress.log,
    )


def finetune_networks(
    run: Run, networks: Mapping[str, Callable[[], Network]], split: str = "the validation set"
) -> None:
    """Train networks on detection, on all training images; save them and evaluate them on the validation set, which
    messages call the `split`. Workers share them."""

    told: set[str] = set()

    def tell(name: str) -> None:
        scores = run.read(EVALUATION, f"{FINETUNE}/{name}").scores
        run.progress.log(f"  {name}: {headline(scores, run.recipe.search.metric)} on {split}")
        told.add(name)

    def work(name: str) -> None:
        stage, settings = f"{FINETUNE}/{name}", run.recipe.finetune
        detector = run.detector(networks[name])
        if run.begins(stage):
            run.begin_network(name, detector)
        run.train(detector, run.detection(settings, run.data.train, detector.transform.settings), settings, stage)
        if comm.is_main_process():
            _save_weights(run, detector, _weights_folder(run, name))
        evaluation = _evaluate(run, name, detector)
        if comm.is_main_process():
            _write_evaluation(run, name, detector, evaluation)
        tell(name)

    share(
        list(networks),
        work,
        is_done=lambda name: is_finished(run, name, networks[name]),
        lock=lambda name: network_lock(run.directory, f"{FINETUNE}-{name}"),
        log=run.progress.log,
    )
    for name in networks:
        if name not in told:
            tell(name)


def is_finished(run: Run, name: str, make_backbone: Callable[[], Network]) -> bool:
    """Whether a network is trained and evaluated, and all that this leaves is there and whole.

    Its last checkpoint may have been deleted, but not damaged.
    """
    folder = run.directory / FINETUNE / name
    with torch.device("meta"):  # the network takes neither time nor memory
        has_weights = _is_of_space(run, make_backbone())

    def is_left() -> bool:
        done = TRAINING_DONE.find_intact(folder)
        if done is None or EVALUATION.find_intact(folder) is None or DETECTIONS.find_intact(folder) is None:
            return False
        if done.files and done.files != _digests(run, name):
            return False
        return not has_weights or is_intact(_weights_folder(run, name) / WEIGHTS)

    return comm.broadcast_from_main(is_left) and run.is_trained(f"{FINETUNE}/{name}", lambda: False)


def _digests(run: Run, name: str) -> dict[str, str]:
    folder = run.directory / FINETUNE / name
    return file_digests(EVALUATION.path(folder), DETECTIONS.path(folder), _weights_folder(run, name) / WEIGHTS)


def _weights_folder(run: Run, name: str) -> Path:
    return run.directory if name == WINNER else run.directory / FINETUNE / name


def _is_of_space(run: Run, network: Network) -> bool:
    """Whether a network is of the run's search space. A weights file is kept of those only."""
    return isinstance(network, Subnet) and network.space == run.space


def _save_weights(run: Run, detector: Detector, directory: Path) -> None:
    """Write the weights file of a finished detector, unless its backbone is not of the run's search space."""
    network = find_network(detector)
    if isinstance(network, Subnet) and _is_of_space(run, network):
        categories = tuple((category.id, category.name) for category in run.data.train.categories)
        recipe = run.recipe
        info = DetectorInfo(
            run.space.backbones,
            Architecture(network.architecture.stages),
            detector.transform.settings,
            categories,
            network.shuffle,
            recipe.data,
            recipe.seed,
        )
        save_detector(directory / WEIGHTS, detector, info)


def _evaluate(run: Run, name: str, detector: Detector) -> Evaluation:
    """Evaluate a finished detector on the validation set, each process on its shard."""
    batch_size = run.recipe.search.batch_size
    shard = run.data.val.subset(comm.shard_indices(len(run.data.val), batch_size))
    images = Images(shard.files, run.recipe.data.cache_mb, shard.sizes, disk=run.disk_cache)
    with (
        explain_out_of_memory(f"search.batch_size = {batch_size}"),
        run.progress.task(f"evaluate {name}", total=len(shard)) as bar,
    ):
        return evaluate(
            detector,
            run.data.val,
            images,
            batch_size=batch_size,
            device=run.device,
            after_batch=lambda count: bar.advance(by=count),
        )


def _write_evaluation(run: Run, name: str, detector: Detector, evaluation: Evaluation) -> None:
    network = find_network(detector)
    directory = run.directory / FINETUNE / name
    DETECTIONS.write(directory, evaluation.results)
    log_scores(directory, run.recipe.finetune.steps, evaluation.scores, run.progress.log)
    size, parts = detector_cost(network, run.recipe)
    facts = {
        "network": name,
        "architecture": None if network.architecture is None else str(network.architecture),
        **network_cost(network, run.recipe, run.sampler).facts(),
        "parts": {part: cost.facts() for part, cost in parts.items()},
        "input_size": size,
        "images": len(run.data.val),
        "scores": evaluation.scores,
        "per_class": evaluation.per_class,
    }
    EVALUATION.write(directory, NetworkEvaluation.model_validate(facts))
    # Last: from here on, the network is finished only as long as these files are as they are.
    done = TRAINING_DONE.read(directory)
    if done.files != (files := _digests(run, name)):
        TRAINING_DONE.write(directory, done.model_copy(update={"files": files}))
