"""Evaluating and running a detector from its weights file."""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from torch import Tensor

from detnas.config.file_data import data_of_file
from detnas.data.detection import Category
from detnas.data.drawing import caption, draw_boxes, legend, write_image
from detnas.data.find_images import find_images
from detnas.data.images import Images, check_sizes, read_image
from detnas.data.splits import open_validation
from detnas.distributed.device import choose_device
from detnas.evaluation.evaluate import evaluate
from detnas.models.detectors.detect import Detections, detect
from detnas.models.weights import DetectorInfo, load_detector
from detnas.utils.errors import UserError
from detnas.utils.files import explain_unwritable, is_folder, make_folder, real_path, write_json
from detnas.utils.progress import Progress

PREDICTIONS = "predictions.json"
COCO = "coco.json"
WRITE_EVERY = 100
"""Images after which these files are first written."""


def evaluate_weights(
    weights: Path,
    data: Path,
    changes: Sequence[str] = (),
    ops: Collection[str] = (),
    *,
    batch_size: int,
    device: str,
    progress: Progress,
) -> Iterator[str]:
    """Evaluate a weights file on the validation set of a data folder, and give its scores as lines of text.

    The set is found, or taken from the training images, as in the run that trained the detector; `changes`, such as
    `data.val=FILE`, are made to that run's data settings. `ops` names the custom ops that the file may import.

    Raises `UserError` if the data set's categories are not those that the detector knows, if the file's data settings
    lead out of the data folder, and for an image so thin that nothing is left of it.
    """
    detector, info = load_detector(weights, ops)
    known = tuple(Category(id, name) for id, name in info.categories)
    val = open_validation(data, data_of_file(weights, info.data, changes), info.seed, known)
    if val.categories != known:
        raise UserError(
            f"--data {data}: its categories are not the detector's ({', '.join(name for _, name in info.categories)}); "
            "evaluate on data with the same category ids and names"
        )
    check_sizes(val.files, val.sizes, info.settings.max_size)
    torch_device = choose_device(device)
    with progress.task("evaluate", total=len(val)) as bar:
        evaluation = evaluate(
            detector.to(torch_device),
            val,
            Images(val.files, cache_mb=0, sizes=val.sizes),
            batch_size=batch_size,
            device=torch_device,
            after_batch=lambda count: bar.advance(by=count),
        )
    yield f"{weights} on {len(val)} images of {data}"
    for name, score in evaluation.scores.items():
        yield f"  {name:6} {_format_score(score)}"
    yield "AP by class"
    width = max(map(len, evaluation.per_class))
    for name, score in evaluation.per_class.items():
        yield f"  {name:{width}} {_format_score(score)}"


def predict_images(
    weights: Path,
    images: Sequence[Path],
    out: Path,
    ops: Collection[str] = (),
    *,
    threshold: float,
    batch_size: int,
    device: str,
    progress: Progress,
) -> Iterator[str]:
    """Detect objects on images, given as files, as folders of them, or by patterns such as `in/*.jpg`.

    Writes into `out` each image with its boxes, predictions.json with the boxes by file name, and coco.json, the same
    as a COCO data set with scores. Both JSON files are written as it goes, and hold what was found so far if something
    stops it. `ops` names custom ops that the file may import. Yields lines on what was written.

    Raises `UserError`, before anything is written, if an image is missing, cannot be decoded or is so thin that nothing
    is left of it, if results would overwrite one another or the images, and if `out` cannot be written.
    """
    detector, info = load_detector(weights, ops)
    paths = find_images(images)
    _check_free(paths, out)
    torch_device = choose_device(device)
    with _new_folder(out):
        _check_names(paths, out)
        sizes = [read_image(path).shape[:0:-1] for path in paths]
        check_sizes(paths, np.array(sizes), info.settings.max_size)
    detector.to(torch_device)
    results = _Results(out, info)
    with progress.task("predict", total=len(paths)) as bar, results:
        for start in range(0, len(paths), batch_size):
            files = paths[start : start + batch_size]
            decoded = [read_image(file) for file in files]
            for file, pixels, found in zip(files, decoded, detect(detector, decoded, torch_device), strict=True):
                keep = found.scores >= threshold
                found = Detections(found.boxes[keep], found.scores[keep], found.labels[keep])
                objects = _predictions(found, info)
                captions = [f"{caption(one['name'], one['category_id'])} {one['score']:.2f}" for one in objects]
                drawn = out / _result_name(file)
                write_image(drawn, draw_boxes(pixels, found.boxes, found.labels.tolist(), captions))
                results.add(file, pixels, objects)
                yield f"{drawn}: {len(objects)} objects"
            bar.advance(by=len(files))
    yield f"{out / PREDICTIONS}: boxes as x1, y1, x2, y2 in pixels; {out / COCO}: the same as a COCO data set"
    yield from legend(info.categories)


class _Results:
    """The content of both JSON files, which are written from time to time, and when the block ends, however it does."""

    def __init__(self, out: Path, info: DetectorInfo) -> None:
        self.out = out
        self.predictions: dict[str, list[dict[str, Any]]] = {}
        self.coco: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": id, "name": name} for id, name in info.categories],
        }
        self.next_write = WRITE_EVERY

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        if self.predictions:
            self._write()

    def add(self, file: Path, image: Tensor, predictions: list[dict[str, Any]]) -> None:
        self.predictions[file.name] = predictions
        _add_to_coco(self.coco, file, image, predictions)
        if len(self.predictions) >= self.next_write:
            self._write()
            # Not always the same number of images later: each time, all that was found so far is written.
            self.next_write = max(len(self.predictions) + WRITE_EVERY, round(1.2 * len(self.predictions)))

    def _write(self) -> None:
        write_json(self.out / PREDICTIONS, self.predictions)
        write_json(self.out / COCO, self.coco)


def _predictions(found: Detections, info: DetectorInfo) -> list[dict[str, Any]]:
    return [
        {"box": box, "score": score, "category_id": info.categories[label][0], "name": info.categories[label][1]}
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ]


def _add_to_coco(
    coco: dict[str, list[dict[str, Any]]], file: Path, image: Tensor, predictions: list[dict[str, Any]]
) -> None:
    image_id = len(coco["images"]) + 1
    height, width = image.shape[-2:]
    coco["images"].append({"id": image_id, "file_name": file.name, "width": width, "height": height})
    for one in predictions:
        x1, y1, x2, y2 = one["box"]
        coco["annotations"].append(
            {
                "id": len(coco["annotations"]) + 1,
                "image_id": image_id,
                "category_id": one["category_id"],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": one["score"],
            }
        )


def _result_name(image: Path) -> str:
    return f"{image.stem}.png"


def _check_free(images: Sequence[Path], out: Path) -> None:
    """Raise `UserError` if results would overwrite one another, or if `out` is a folder of the images."""
    by_name: dict[str, Path] = {}
    folder = real_path(out)
    for image in images:
        if folder in (real_path(image.parent), real_path(image).parent):
            raise UserError(f"--out {out}: is the folder of {image}, which could be overwritten; choose another")
        other = by_name.setdefault(_result_name(image), image)
        if other is not image:
            raise UserError(f"{image}: its result {image.stem}.png is also that of {other}; run them one by one")


@contextmanager
def _new_folder(out: Path) -> Iterator[None]:
    """Make the folder `out`, in which files can be written; if the block fails, what was made is removed.

    Raises `UserError` if that is not possible.
    """
    missing = [path for path in (out, *out.parents) if not os.path.lexists(path)]
    above = out.parents[len(missing) - 1] if missing else out
    if not is_folder(above):
        raise UserError(f"--out {out}: is or is in a file; name a folder")
    try:
        make_folder(out)
        with explain_unwritable(out), TemporaryFile(dir=out) as file:
            file.write(bytes(1))
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


def _check_names(images: Sequence[Path], out: Path) -> None:
    """Raise `UserError` for an image after which no result can be named."""
    for image in images:
        try:
            is_folder = S_ISDIR((out / _result_name(image)).stat().st_mode)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(
                f"{image}: its result {_result_name(image)} cannot be written ({error.strerror}); rename the image"
            ) from None
        if is_folder:
            raise UserError(f"--out {out}: its {_result_name(image)} is a folder, not an image; choose another")


def _format_score(score: float | None) -> str:
    return "   -  (no such object)" if score is None else f"{score:.4f}"
