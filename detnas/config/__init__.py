"""The recipe: all settings of a run as one validated tree. Without torch, so that reading a recipe is instant."""

from detnas.config.data import DataSettings, ShapesSettings
from detnas.config.detector import OFFICIAL_INPUT, DetectorSettings, FPNSettings, Preprocessing, RetinaNetSettings
from detnas.config.loading import change_data, load_recipe, recipe_names
from detnas.config.pretraining import PretrainingSettings
from detnas.config.recipe import Recipe
from detnas.config.search import SearchSettings
from detnas.config.space import SpaceSettings
from detnas.config.training import SupernetTrainingSettings, TrainingSettings

__all__ = [
    "OFFICIAL_INPUT",
    "DataSettings",
    "DetectorSettings",
    "FPNSettings",
    "Preprocessing",
    "PretrainingSettings",
    "Recipe",
    "RetinaNetSettings",
    "SearchSettings",
    "ShapesSettings",
    "SpaceSettings",
    "SupernetTrainingSettings",
    "TrainingSettings",
    "change_data",
    "load_recipe",
    "recipe_names",
]
