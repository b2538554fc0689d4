"""The classification data of a run: an image folder, or crops of the boxes of the detection data."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detnas.config import Recipe, TrainingSettings
from detnas.data.crops import CropSamples, find_crop_objects
from detnas.data.decoding import EXTENSIONS
from detnas.data.disk_cache import DiskCache
from detnas.data.find_images import list_files
from detnas.data.images import Images
from detnas.data.packed_paths import PackedPaths
from detnas.data.samples import ClassSamples
from detnas.data.splits import RunData
from detnas.utils.errors import UserError
from detnas.utils.files import is_folder
from detnas.utils.seeds import derive_seed

Part = Literal["train", "fit", "search"]


class ClassificationSet:
    """The classification on which backbones are pre-trained, in the same parts as `RunData`.

    `train` is all of it, the supernet is trained on `fit`, and candidates are evaluated on `search`. Crops come from
    the same parts of the detection data. Of a folder, a random fraction is `search` if candidates are evaluated by
    classification (`search.fitness: classification`) and the rest `fit`; otherwise `fit` is all of it.

    Raises `UserError` for a folder that cannot be used, and for parts without an object to crop.
    """

    def __init__(self, recipe: Recipe, data: RunData) -> None:
        self.settings = recipe.pretraining
        self.data = data
        is_classification = recipe.search.is_classification
        if self.settings.source == "crops":
            for part in (data.fit, data.search) if is_classification else (data.fit,):
                find_crop_objects(part)
            self.num_classes = len(data.train.categories) + (self.settings.background > 0)
        else:
            assert self.settings.folder is not None  # the recipe refuses source=folder without one
            folder = data.directory / self.settings.folder  # an absolute folder stays as it is
            self.files, self.labels, classes = read_image_folder(folder)
            self.num_classes = len(classes)
            count = len(self.files)
            aside = max(1, round(count * self.settings.search_fraction)) if is_classification else 0
            if aside >= count:
                raise UserError(f"pretraining.folder {folder}: of its {count} images none is left to train on")
            order = np.random.default_rng(derive_seed(recipe.seed, "split", "classification")).permutation(count)
            self.indices: dict[Part, list[int]] = {
                "train": list(range(count)),
                "fit": sorted(order[aside:].tolist()),
                "search": sorted(order[:aside].tolist()),
            }

    def samples(
        self, part: Part, augmentation: TrainingSettings | None, cache_mb: int, disk: DiskCache | None = None
    ) -> ClassSamples | CropSamples:
        """The samples of a part, augmented as `augmentation` says; without it, as they are evaluated."""
        settings = self.settings
        if settings.source == "crops":
            boxes = {"train": self.data.train, "fit": self.data.fit, "search": self.data.search}[part]
            return CropSamples(boxes, settings.image_size, settings.background, augmentation, cache_mb, disk)
        indices = self.indices[part]
        images = Images(self.files.take(indices), cache_mb, disk=disk)
        return ClassSamples(images, self.labels[indices], settings.image_size, settings.min_scale, augmentation)


def read_image_folder(directory: Path) -> tuple[PackedPaths, NDArray[np.int64], list[str]]:
    """The images in the sub-folders of `directory`, their class indices (N,) int64, and the sub-folders' names.

    Raises `UserError` if there is no such folder, or a class has no images.
    """
    place = f"pretraining.folder {directory}"
    if not is_folder(directory):
        raise UserError(f"{place}: no such folder; name one with a sub-folder for each class")
    try:
        folders = [entry.name for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({error.strerror}); make it readable") from None
    classes = sorted(folders)
    found = [
        sorted(list_files(directory / name, EXTENSIONS), key=lambda file: (str(file.parent), file.name))
        for name in classes
    ]
    if not classes:
        raise UserError(f"{place}: it has no sub-folders; it must hold a sub-folder of images for each class")
    if bare := [name for name, files in zip(classes, found, strict=True) if not files]:
        raise UserError(
            f"{place}: there is no image ({', '.join(EXTENSIONS)}) in the sub-folders of the classes "
            f"{', '.join(bare[:10])}; each class must have one of images"
        )
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in found])
    return PackedPaths(file for files in found for file in files), labels, classes
