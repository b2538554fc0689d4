"""The learned weights with which the networks of a run begin."""

from pathlib import Path

import numpy as np

from detnas.config import Recipe, load_recipe
from detnas.config.beginnings import is_of_space
from detnas.config.pretraining import SHIPPED_WEIGHTS
from detnas.models.ops.shuffle import Shuffle
from detnas.models.supernet import Supernet
from detnas.models.weight_sources.layout import SUPERNET_LAYOUT, check_layout
from detnas.models.weight_sources.reading import read_weights
from detnas.models.weight_sources.spec import WeightSource
from detnas.models.weight_sources.trained_supernet import TrainedSupernet
from detnas.rundir import layout
from detnas.rundir.directory import read_stored_run
from detnas.rundir.layout import PRETRAINED, Pretrained
from detnas.spaces import SearchSpace
from detnas.training.checkpoints import finished_weights, weights_digest
from detnas.utils.errors import UserError
from detnas.utils.files import is_folder
from detnas.utils.text import describe_value


def open_weights(where: str, space: SearchSpace) -> WeightSource:
    """The learned weights at `where`, see `PretrainingSettings.weights`, for the networks of `space`.

    Raises `UserError` if there are none, or they do not fit.
    """
    if where in SHIPPED_WEIGHTS or not is_folder(Path(where)):
        return read_weights(where, space)
    try:
        # First of all: to build the supernet of another space would import the custom ops that it names.
        check_layout(where, _read_recipe(Path(where)).search_space().backbones, space, SUPERNET_LAYOUT)
        return read_supernet(Path(where))
    except UserError as error:
        raise UserError(f"pretraining.weights {error}") from None


def read_supernet(directory: Path, stage: str | None = None) -> TrainedSupernet:
    """The supernet of the run in `directory`: as trained in `stage`, by default in its pre-training, if it has one.

    Raises `UserError` if the directory holds no run, the run has no such stage, or that training is not finished.
    """
    recipe = _read_recipe(directory)
    stages = supernet_stages(recipe)
    stage = stage or stages[0]
    if stage not in stages:
        raise UserError(f"{directory}: {stage} is not part of this run; choose {' or '.join(stages)}")
    folder = directory / stage
    supernet = Supernet(recipe.search_space().backbones, stored_shuffle(directory) or "even_odd")
    part = "backbone" if stage == layout.SUPERNET_PRETRAIN else "backbone.body"
    supernet.load_state_dict(finished_weights(folder, part))
    return TrainedSupernet(supernet, recipe.detector.preprocessing, str(folder), weights_digest(folder))


def supernet_stages(recipe: Recipe) -> list[str]:
    """The stages in which a run of this recipe trains its supernet, in order."""
    is_part = {
        layout.SUPERNET_PRETRAIN: recipe.pretrains_supernet,
        layout.SUPERNET_FINETUNE: not recipe.search.is_classification,
    }
    return [stage for stage, is_one in is_part.items() if is_one]


def _read_recipe(directory: Path) -> Recipe:
    """The recipe of the run in `directory`. Raises `UserError` if it holds none."""
    read_stored_run(directory)
    return load_recipe(directory / layout.RECIPE)


def stored_shuffle(directory: Path) -> Shuffle | None:
    """How the supernet of the run in `directory` splits channels, if it began with learned weights."""
    record = PRETRAINED.find(directory)
    return None if record is None else record.shuffle


def check_weights(directory: Path, recipe: Recipe, weights: WeightSource) -> None:
    """Raise `UserError` unless the recipe's networks can begin with these weights, and the run in `directory`, if it
    was begun, began with the same."""
    for name, theirs in weights.preprocessing.model_dump().items():
        ours = getattr(recipe.detector, name)
        if ours != theirs and (isinstance(theirs, str) or not np.allclose(ours, theirs, rtol=1e-3)):
            shown = str(list(theirs) if isinstance(theirs, tuple) else theirs).replace(" ", "")
            raise UserError(
                f"detector.{name} {describe_value(ours)}: {weights.where} was trained on images with {shown}; set "
                f"detector.{name}={shown}"
            )
    for name in recipe.baselines:
        if recipe.pretraining.source == "weights" and not is_of_space(recipe, name):
            raise UserError(
                f"baselines {list(recipe.baselines)}: {name} is not in space {recipe.search_space().name}, whose "
                "networks begin with pretraining.weights; leave it out"
            )
    stored = PRETRAINED.find(directory)
    if stored is not None and stored.sha256 != weights.digest:
        raise UserError(
            f"{directory}: its supernet began with other weights than {weights.where} holds now (SHA-256 "
            f"{describe_value(stored.sha256[:12])}… then, {weights.digest[:12]}… now); put the file back, or choose "
            "another --out"
        )


def store_weights(directory: Path, weights: WeightSource) -> None:
    """Write pretrained.json, unless it is there and whole."""
    record = Pretrained(where=weights.where, sha256=weights.digest, shuffle=weights.shuffle)
    if PRETRAINED.find_intact(directory) != record:
        PRETRAINED.write(directory, record)
