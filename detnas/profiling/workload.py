"""How long a recipe will take: how many images its stages work on, times what an image costs."""

from detnas.config import Recipe, TrainingSettings

ASSUMED_IMAGES = 1000
"""Of the search split, where neither the recipe nor the data say."""


def split_sizes(recipe: Recipe) -> tuple[int, int]:
    """Images that candidates can be judged on, and of the validation set, as far as the recipe tells.

    Where it says nothing of the validation set, that is taken to be as large as the detection set's search split: so
    it is with COCO and VOC.
    """
    data, settings = recipe.data, recipe.search
    by_detection = not settings.by_classification
    if data.shapes is not None:
        split = data.search_images or max(1, round(data.shapes.train * data.search_fraction))
        validation = data.shapes.val
    else:
        split = data.search_images or (by_detection and settings.images) or ASSUMED_IMAGES
        validation = split
    return split if by_detection else settings.images or ASSUMED_IMAGES, validation


def images_per_stage(recipe: Recipe, search: int, validation: int) -> dict[str, int]:
    """Images that each stage works on; of `pretrain`, `finetune` and `evaluate`: for each network.

    `search` and `validation` are the sizes of the search split and of the validation set.
    """
    pretrains = recipe.pretraining.source != "none"
    settings = recipe.search
    judged = min(search, settings.images or search)
    return {
        "supernet-pretrain": recipe.pretrains_supernet * _trained(recipe.supernet_pretrain),
        "supernet-finetune": (not settings.by_classification) * _trained(recipe.supernet_finetune),
        "search": settings.evaluations * (settings.recalibration_batches * settings.recalibration_batch_size + judged),
        "pretrain": pretrains * _trained(recipe.pretrain),
        "finetune": _trained(recipe.finetune),
        "evaluate": validation,
    }


def _trained(settings: TrainingSettings) -> int:
    return settings.steps * settings.batch_size
