"""Everything a run can be told, as one validated tree. Knows no torch: reading a recipe is instant."""

from detnas.config.detector import OFFICIAL_INPUT, DetectorSettings, FPNSettings, Preprocessing, RetinaNetSettings
from detnas.config.loading import change_data, load_recipe, recipe_names
from detnas.config.recipe import DataSettings, PretrainingSettings, Recipe, ShapesSettings, SpaceSettings
from detnas.config.search import SearchSettings
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
