"""Evaluating and running a detector from its weights file."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from detnas.config.file_data import data_of_file
from detnas.data.detection import Category
from detnas.data.drawing import draw_boxes, write_image
from detnas.data.find_images import find_images
from detnas.data.images import Images, read_image
from detnas.data.splits import open_validation
from detnas.distributed.device import choose_device
from detnas.evaluation.evaluate import evaluate
from detnas.models.detectors.detect import Detections, detect
from detnas.models.weights import DetectorInfo, load_detector
from detnas.utils.errors import UserError
from detnas.utils.files import write_json
from detnas.utils.progress import Progress

PREDICTIONS = "predictions.json"
COCO = "coco.json"


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

    Raises `UserError` if the data set's categories are not those that the detector knows, or if the file's data
    settings lead out of the data folder.
    """
    detector, info = load_detector(weights, ops)
    known = tuple(Category(id, name) for id, name in info.categories)
    val = open_validation(data, data_of_file(weights, info.data, changes), info.seed, known)
    if val.categories != known:
        raise UserError(
            f"--data {data}: its categories are not the detector's ({', '.join(name for _, name in info.categories)}); "
            "evaluate on data with the same category ids and names"
        )
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
    as a COCO data set with scores. `ops` names custom ops that the file may import. Yields lines on what was written.

    Raises `UserError`, before anything is written, if an image is missing or cannot be decoded, and if results would
    overwrite one another or the images.
    """
    detector, info = load_detector(weights, ops)
    paths = find_images(images)
    _check_free(paths, out)
    for path in paths:
        read_image(path)
    torch_device = choose_device(device)
    detector.to(torch_device)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--out {out}: is or is in a file; name a folder") from None
    predictions: dict[str, list[dict[str, Any]]] = {}
    coco: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": id, "name": name} for id, name in info.categories],
    }
    with progress.task("predict", total=len(paths)) as bar:
        for start in range(0, len(paths), batch_size):
            files = paths[start : start + batch_size]
            decoded = [read_image(file) for file in files]
            for file, pixels, found in zip(files, decoded, detect(detector, decoded, torch_device), strict=True):
                keep = found.scores >= threshold
                found = Detections(found.boxes[keep], found.scores[keep], found.labels[keep])
                predictions[file.name] = objects = _predictions(found, info)
                _add_to_coco(coco, file, pixels, objects)
                captions = [f"{one['name']} {one['score']:.2f}" for one in objects]
                write_image(out / f"{file.stem}.png", draw_boxes(pixels, found.boxes, found.labels.tolist(), captions))
                yield f"{out / f'{file.stem}.png'}: {len(objects)} objects"
            bar.advance(by=len(files))
    write_json(out / PREDICTIONS, predictions)
    write_json(out / COCO, coco)
    yield f"{out / PREDICTIONS}: boxes as x1, y1, x2, y2 in pixels; {out / COCO}: the same as a COCO data set"


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


def _check_free(images: Sequence[Path], out: Path) -> None:
    """Raise `UserError` if results would overwrite one another, or if `out` is a folder of the images."""
    by_stem: dict[str, Path] = {}
    for image in images:
        if image.parent.resolve() == out.resolve():
            raise UserError(f"--out {out}: is the folder of {image}, which could be overwritten; choose another")
        other = by_stem.setdefault(image.stem, image)
        if other is not image:
            raise UserError(f"{image}: its result {image.stem}.png is also that of {other}; run them one by one")


def _format_score(score: float | None) -> str:
    return "   -  (no such object)" if score is None else f"{score:.4f}"
