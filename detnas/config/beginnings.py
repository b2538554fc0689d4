"""With which weights the trainings of a run begin, as its recipe says."""

from detnas.config.recipe import Recipe
from detnas.rundir.layout import Pretrained
from detnas.spaces.published import PUBLISHED, RESNETS

SHOWN = 12
"""Digits of a SHA-256 that are shown."""


def is_of_space(recipe: Recipe, network: str) -> bool:
    """Whether a network of a run, by its name, is of the recipe's search space, as all are but some baselines."""
    if network in PUBLISHED:
        return PUBLISHED[network].space == recipe.search_space().backbones
    return network not in RESNETS


def inherits(recipe: Recipe, network: str) -> bool:
    """Whether a network of a run begins its training on detection with the weights of the fine-tuned supernet."""
    return recipe.inherit and is_of_space(recipe, network)


def is_pretrained(recipe: Recipe, network: str) -> bool:
    """Whether a network of a run is trained on classification first."""
    return recipe.pretrains and not inherits(recipe, network)


def begins_with_weights(recipe: Recipe, network: str) -> bool:
    """Whether a network of a run begins its training with the learned weights that the recipe names."""
    return recipe.pretraining.source == "weights" and not inherits(recipe, network)


def describe_beginnings(recipe: Recipe, weights: Pretrained | None) -> str:
    """Sentences on the learned weights with which the networks of a run begin, `weights` once they are known; empty if
    there are none."""
    sentences = []
    if weights is not None:
        are_all = recipe.pretraining.source == "weights" and not recipe.inherit
        who = "The supernet and all networks begin" if are_all else "The supernet begins"
        sentences.append(f"{who} with learned weights: {weights.where} (SHA-256 {weights.sha256[:SHOWN]}…).")
    if recipe.inherit:
        sentences.append("The networks of the search space begin with the weights of the fine-tuned supernet.")
    return " ".join(sentences)
