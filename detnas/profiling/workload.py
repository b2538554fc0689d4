"""How long a recipe will take: how many pictures its stages work on, times what a picture costs."""

from detnas.config import Recipe, TrainingSettings

ASSUMED_PICTURES = 1000
"""Of the search split, where neither the recipe nor the data say."""


def split_sizes(recipe: Recipe) -> tuple[int, int]:
    """Pictures that candidates can be judged on, and of the validation set, as far as the recipe tells.

    Where it says nothing of the validation set, that is taken to be as large as the detection set's search split: so
    it is with COCO and VOC.
    """
    data, settings = recipe.data, recipe.search
    by_detection = not settings.by_classification
    if data.shapes is not None:
        split = data.search_images or max(1, round(data.shapes.train * data.search_fraction))
        validation = data.shapes.val
    else:
        split = data.search_images or (by_detection and settings.pictures) or ASSUMED_PICTURES
        validation = split
    return split if by_detection else settings.pictures or ASSUMED_PICTURES, validation


def pictures(recipe: Recipe, search: int, validation: int) -> dict[str, int]:
    """Pictures that each stage works on; of `pretrain`, `finetune` and `evaluate`: for each network.

    `search` and `validation` are the sizes of the search split and of the validation set.
    """
    pretrains = recipe.pretraining.source != "none"
    settings = recipe.search
    judged = min(search, settings.pictures or search)
    return {
        "supernet-pretrain": recipe.pretrains_supernet * _trained(recipe.supernet_pretrain),
        "supernet-finetune": (not settings.by_classification) * _trained(recipe.supernet_finetune),
        "search": settings.evaluations * (settings.recalibration_batches * settings.recalibration_batch + judged),
        "pretrain": pretrains * _trained(recipe.pretrain),
        "finetune": _trained(recipe.finetune),
        "evaluate": validation,
    }


def _trained(settings: TrainingSettings) -> int:
    return settings.steps * settings.batch
