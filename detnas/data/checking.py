"""Looking at a data set before anything is trained on it."""

from collections import Counter
from pathlib import Path

from PIL import Image

from detnas.config import DataSettings
from detnas.data.coco import Finding, find_problems
from detnas.data.finding import Source, find_sources
from detnas.data.images import UNREADABLE
from detnas.data.sources import open_data
from detnas.errors import UserError
from detnas.files import is_file


def check(directory: Path) -> tuple[list[str], bool]:
    """Lines for people on what the data set in `directory` holds, and whether nothing in it stops a training.

    Raises `UserError` where there is no data set at all.
    """
    lines, fine = [], True
    settings = DataSettings()
    for split, source in [(split, one) for split, found in find_sources(directory, settings).items() for one in found]:
        tree = source.tree
        names = {category["id"]: category["name"] for category in tree["categories"]}
        counts = Counter(annotation["category_id"] for annotation in tree["annotations"])
        lines.append(f"{split}: {source.format}, {source.annotations}, pictures under {source.images}")
        lines.append(f"  {len(tree['images']):,} pictures, {len(tree['annotations']):,} boxes, {len(names)} categories")
        lines.append("  boxes by category: " + ", ".join(f"{name} {counts[id]:,}" for id, name in names.items()))
        for finding in find_problems(tree, source.images) + _check_pictures(tree["images"], source):
            lines.append(f"  {'ERROR' if finding.fatal else 'note'}: {finding}")
            fine = fine and not finding.fatal
    if fine:
        try:
            open_data(directory, settings, seed=0)  # what is wrong with the splits together
        except UserError as error:
            lines.append(f"ERROR: {error}")
            fine = False
    lines.append("Nothing in the way of training." if fine else "Mend the errors before training.")
    return lines, fine


def _check_pictures(images: list[dict[str, object]], source: Source) -> list[Finding]:
    """Pictures that are no pictures, or have another size than the annotations say."""
    broken, resized = [], []
    for image in images:
        path = source.images / str(image["file_name"])
        if not is_file(path):
            continue
        try:
            with Image.open(path) as picture:
                size = picture.size
                picture.verify()
        except UNREADABLE:
            broken.append(str(image["file_name"]))
            continue
        if size != (image["width"], image["height"]):
            resized.append(f"{image['file_name']}: {size[0]}x{size[1]}, not {image['width']}x{image['height']}")
    findings = []
    if broken:
        findings.append(Finding("files that are no pictures", len(broken), broken[0], "replace them"))
    if resized:
        remedy = "mend width and height, or the pictures"
        findings.append(Finding("pictures of another size than the file says", len(resized), resized[0], remedy))
    return findings
