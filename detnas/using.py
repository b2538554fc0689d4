"""Using what was found: judging and running a detector from its weights file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torchvision.io import encode_png
from torchvision.utils import draw_bounding_boxes

from detnas.config import DataSettings
from detnas.data.detection import Category
from detnas.data.images import Images, read_image
from detnas.data.sources import open_data
from detnas.device import choose_device
from detnas.errors import UserError
from detnas.files import write_file, write_json
from detnas.models.inference import Detections, detect
from detnas.models.weights import DetectorInfo, load_detector
from detnas.searching.evaluation import evaluate


def evaluate_weights(weights: Path, data: Path, batch: int, device: str) -> Iterator[str]:
    """The scores of a weights file on the validation set of a data folder, as lines for people.

    Raises `UserError` if the data set's categories are not those that the detector knows.
    """
    detector, info = load_detector(weights)
    val = open_data(data, DataSettings(), seed=0).val
    known = tuple(Category(id, name) for id, name in info.categories)
    if val.categories != known:
        raise UserError(
            f"--data {data}: its categories are not the detector's ({', '.join(name for _, name in info.categories)}); "
            "evaluate on data with the same category ids and names"
        )
    on = choose_device(device)
    evaluation = evaluate(detector.to(on), val, Images(val.files, cache_mb=0), batch=batch, device=on)
    yield f"{weights} on {len(val)} pictures of {data}"
    for name, score in evaluation.scores.items():
        yield f"  {name:6} {_shown(score)}"
    yield "AP by class"
    width = max(map(len, evaluation.per_class))
    for name, score in evaluation.per_class.items():
        yield f"  {name:{width}} {_shown(score)}"


def predict_images(
    weights: Path, images: Sequence[Path], out: Path, threshold: float, device: str
) -> Iterator[str]:
    """Detect on pictures; writes each with its boxes, and predictions.json, into `out`. Lines for people.

    Raises `UserError` for a picture that is missing or cannot be decoded, before anything is written.
    """
    detector, info = load_detector(weights)
    names = [image.name for image in images]
    for image in images:
        if not image.is_file():
            raise UserError(f"{image}: no such picture")
        if names.count(image.name) > 1:
            raise UserError(f"{image}: several pictures have this name; their results would overwrite one another")
    on = choose_device(device)
    detector.to(on)
    pictures = [read_image(image) for image in images]
    out.mkdir(parents=True, exist_ok=True)
    predictions = {}
    for image, picture in zip(images, pictures, strict=True):
        (found,) = detect(detector, [picture], on)
        keep = found.scores >= threshold
        found = Detections(found.boxes[keep], found.scores[keep], found.labels[keep])
        drawn = out / f"{image.stem}.png"
        _draw(drawn, picture, found, info)
        predictions[image.name] = [
            {"box": box, "score": score, "category_id": info.categories[label][0], "name": info.categories[label][1]}
            for box, score, label in zip(
                found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
            )
        ]
        yield f"{drawn}: {len(found.scores)} objects"
    write_json(out / "predictions.json", predictions)
    yield f"{out / 'predictions.json'}: boxes as x1, y1, x2, y2 in pixels"


def _draw(path: Path, picture: torch.Tensor, found: Detections, info: DetectorInfo) -> None:
    captions = [
        f"{info.categories[label][1]} {score:.2f}" for label, score in zip(found.labels, found.scores, strict=True)
    ]
    drawn = picture
    if captions:
        drawn = draw_bounding_boxes(picture, torch.from_numpy(found.boxes), captions, colors="orange", width=2)
    data = encode_png(drawn).numpy().tobytes()
    write_file(path, lambda file: file.write(data))


def _shown(score: float | None) -> str:
    return "   -  (no such box)" if score is None else f"{score:.4f}"
