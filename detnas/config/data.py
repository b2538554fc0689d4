"""The sections of a recipe on the data set."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from detnas.config.section import PathText, Quantity, Section, Seed, check_path

Megabytes = Annotated[int, Field(ge=0, le=10**9)]


def _files(value: Any) -> Any:
    names = value if isinstance(value, list | tuple) else [value]
    if value is not None and not (0 < len(names) <= MOST_FILES and all(isinstance(name, str) for name in names)):
        raise ValueError(f"name a file or set, or several (at most {MOST_FILES}) in a list")
    for name in names if value is not None else ():
        check_path(name)
    return value


MOST_FILES = 1000


Files = Annotated[str | Annotated[tuple[str, ...], Field(max_length=MOST_FILES)] | None, BeforeValidator(_files)]


class ShapesSettings(Section):
    """The embedded data set of drawn shapes, used when the recipe has this section and no `--data` is given."""

    train: Quantity = 1200
    """Number of training images, from which the search split is cut."""
    val: Quantity = 300
    """Number of validation images."""
    size: Annotated[int, Field(ge=32, le=2**12)] = 128
    """Side of the square images in pixels."""
    crops: Annotated[int, Field(ge=0, le=10**6)] = 4000
    """Number of images of single objects for classification (`pretraining.folder`); 0 draws none."""
    crop_size: Annotated[int, Field(ge=16, le=2**12)] = 64
    """Side of the images of single objects in pixels."""
    min_object: Annotated[int, Field(ge=4, le=2**11)] = 8
    """Longer side of the smallest objects in pixels, at most half the image's side."""
    max_objects: Annotated[int, Field(gt=0, le=1000)] = 6
    """Maximum number of objects in an image."""
    clutter: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Amount of clutter in the background, relative to the default; 0 draws none."""
    seed: Seed = 0
    """Seed of the drawing; the recipe's own `seed` does not change the images."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_object > self.size / 2:
            raise ValueError(f"min_object is {self.min_object}: ask for at most {self.size // 2}, half the image")
        return self


class DataSettings(Section):
    """The detection data set in the folder `--data DIR`, or `shapes`."""

    shapes: ShapesSettings | None = None
    """Draw the embedded data set when no `--data` is given."""
    train: Files = None
    """The training set: a COCO JSON file, a YOLO data.yaml, or a set of a VOC tree such as VOC2007/trainval, relative
    to the data folder; or a list of these, which are joined. Not needed where the layout is a usual one."""
    train_images: PathText | None = None
    """The folder of the training images, relative to the data folder. Not needed where the layout is a usual one. For
    YOLO, it replaces the entry `train` of data.yaml."""
    val: Files = None
    """The validation set, in the same forms as `train`."""
    val_images: PathText | None = None
    """The folder of the validation images, in the same form as `train_images`."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the training images that becomes the validation set if the folder holds none."""
    search_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the training images that becomes the search split, on which candidates are evaluated."""
    search_images: Quantity | None = None
    """Number of training images that become the search split; overrides `search_fraction`. The paper uses 5000."""
    bad_boxes: Literal["refuse", "drop", "clip"] = "refuse"
    """What to do with boxes that extend beyond their image or have no area: `refuse` the data set; `drop` these boxes;
    or `clip` them at the border of the image, and drop only those of which nothing is within."""
    cache_mb: Megabytes = 2000
    """Megabytes of memory for decoded images. The images of a stage are kept in memory if all of them fit. A search
    also keeps the detector's inputs, and with the remaining memory the features that candidates share."""
    disk_cache_mb: Megabytes = 0
    """Megabytes of disk space for the decoded images of stages that do not fit into `cache_mb`, in the folder `images`
    of the run. Images for which no space is left are decoded each time. 0 keeps none. The folder may be deleted at any
    time."""
    group_by_aspect: bool = True
    """Train detection on batches of only portrait or only landscape images, which need less padding, if there is at
    least a batch of each. Square images count as landscape."""

    def names_of(self, split: Literal["train", "val"]) -> tuple[str, ...]:
        """The names in `train` or `val` as a tuple, which is empty if there is none."""
        files = {"train": self.train, "val": self.val}[split]
        return (files,) if isinstance(files, str) else files or ()
