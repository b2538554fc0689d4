"""Using what was found: judging and running a detector from its weights file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from detnas.config import change_data
from detnas.data.decoding import EXTENSIONS
from detnas.data.detection import Category
from detnas.data.drawing import draw_boxes, write_picture
from detnas.data.images import Images, read_image
from detnas.data.sources import open_validation
from detnas.device import choose_device
from detnas.errors import UserError
from detnas.files import is_file, write_json
from detnas.models.inference import Detections, detect
from detnas.models.weights import load_detector
from detnas.searching.evaluation import evaluate


def evaluate_weights(weights: Path, data: Path, batch: int, device: str, changes: Sequence[str] = ()) -> Iterator[str]:
    """The scores of a weights file on the validation set of a data folder, as lines for people.

    The set is found, or cut from the training pictures, as in the run that trained the detector; `changes`, such as
    `data.val=FILE`, are made to that run's data settings.
    Raises `UserError` if the data set's categories are not those that the detector knows.
    """
    detector, info = load_detector(weights)
    known = tuple(Category(id, name) for id, name in info.categories)
    val = open_validation(data, change_data(info.data, changes), info.seed, known)
    if val.categories != known:
        raise UserError(
            f"--data {data}: its categories are not the detector's ({', '.join(name for _, name in info.categories)}); "
            "evaluate on data with the same category ids and names"
        )
    on = choose_device(device)
    evaluation = evaluate(detector.to(on), val, Images(val.files, cache_mb=0, sizes=val.sizes), batch=batch, device=on)
    yield f"{weights} on {len(val)} pictures of {data}"
    for name, score in evaluation.scores.items():
        yield f"  {name:6} {_shown(score)}"
    yield "AP by class"
    width = max(map(len, evaluation.per_class))
    for name, score in evaluation.per_class.items():
        yield f"  {name:{width}} {_shown(score)}"


def predict_images(weights: Path, images: Sequence[Path], out: Path, threshold: float, device: str) -> Iterator[str]:
    """Detect on pictures, or on those in folders; writes each with its boxes, and predictions.json, into `out`.

    Lines for people. Raises `UserError`, before anything is written, for a picture that is missing or cannot be
    decoded, and where results would overwrite one another or the pictures.
    """
    detector, info = load_detector(weights)
    images = _pictures(images)
    _check_free(images, out)
    for image in images:
        read_image(image)
    on = choose_device(device)
    detector.to(on)
    out.mkdir(parents=True, exist_ok=True)
    predictions = {}
    for image in images:
        picture = read_image(image)
        (found,) = detect(detector, [picture], on)
        keep = found.scores >= threshold
        found = Detections(found.boxes[keep], found.scores[keep], found.labels[keep])
        drawn = out / f"{image.stem}.png"
        captions = [
            f"{info.categories[label][1]} {score:.2f}" for label, score in zip(found.labels, found.scores, strict=True)
        ]
        write_picture(drawn, draw_boxes(picture, found.boxes, found.labels.tolist(), captions))
        predictions[image.name] = [
            {"box": box, "score": score, "category_id": info.categories[label][0], "name": info.categories[label][1]}
            for box, score, label in zip(
                found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
            )
        ]
        yield f"{drawn}: {len(found.scores)} objects"
    write_json(out / "predictions.json", predictions)
    yield f"{out / 'predictions.json'}: boxes as x1, y1, x2, y2 in pixels"


def _pictures(paths: Sequence[Path]) -> list[Path]:
    """The pictures themselves, folders replaced by what lies in them."""
    pictures = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in EXTENSIONS)
            if not inside:
                raise UserError(f"{path}: no picture in this folder ({', '.join(EXTENSIONS)}); name another")
            pictures += inside
        elif is_file(path):
            pictures.append(path)
        else:
            raise UserError(f"{path}: no such picture or folder; name one that exists")
    return pictures


def _check_free(pictures: Sequence[Path], out: Path) -> None:
    """Refuse results that would overwrite one another, or lie among the pictures."""
    by_stem: dict[str, Path] = {}
    for picture in pictures:
        if picture.parent.resolve() == out.resolve():
            raise UserError(f"--out {out}: is the folder of {picture}, which could be overwritten; choose another")
        other = by_stem.setdefault(picture.stem, picture)
        if other is not picture:
            raise UserError(f"{picture}: its result {picture.stem}.png is also that of {other}; run them one by one")


def _shown(score: float | None) -> str:
    return "   -  (no such box)" if score is None else f"{score:.4f}"
