"""How many images the stages of a recipe process."""

from detnas.config import Recipe, TrainingSettings

DEFAULT_IMAGES = 1000
"""The assumed size of the search split where neither the recipe nor the data tell it."""


def split_sizes(recipe: Recipe) -> tuple[int, int]:
    """The number of images for the evaluation of candidates, and of the validation set, as far as the recipe tells."""
    data, settings = recipe.data, recipe.search
    is_detection = not settings.is_classification
    if data.shapes is not None:
        split = data.search_images or max(1, round(data.shapes.train * data.search_fraction))
        validation = data.shapes.val
    else:
        split = data.search_images or (is_detection and settings.images) or DEFAULT_IMAGES
        validation = split  # an assumption; it is so in the paper's experiments on COCO and VOC
    return split if is_detection else settings.images or DEFAULT_IMAGES, validation


def images_per_stage(recipe: Recipe, search: int, validation: int) -> dict[str, int]:
    """Images that each stage processes, per network in `pretrain`, `finetune`, `evaluate`, given the `split_sizes`. For
    `finals` they are those that are trained on."""
    settings = recipe.search
    evaluated = min(search, settings.images or search)
    recalibrated = settings.recalibration_batches * settings.recalibration_batch_size
    return {
        "supernet-pretrain": recipe.pretrains_supernet * _trained(recipe.supernet_pretrain),
        "supernet-finetune": (not settings.is_classification) * _trained(recipe.supernet_finetune),
        "search": settings.evaluations * (recalibrated + evaluated),
        "finals": round(recipe.finals.trainings() * _trained(recipe.finetune)) if recipe.finals else 0,
        "pretrain": recipe.pretrains * _trained(recipe.pretrain),
        "finetune": _trained(recipe.finetune),
        "evaluate": validation,
    }


def _trained(settings: TrainingSettings) -> int:
    return settings.steps * settings.batch_size
