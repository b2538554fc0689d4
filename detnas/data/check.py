"""The command `detnas data check`: a description and a complete validation of a data set."""

from collections import Counter
from pathlib import Path

from detnas.config import DataSettings
from detnas.data.formats.base import Source
from detnas.data.formats.discovery import find_sources
from detnas.data.splits import RunData, split_data
from detnas.data.validation import find_issues
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress


def check(directory: Path, settings: DataSettings, progress: Progress) -> tuple[list[str], RunData | None]:
    """Describe and validate the data set in `directory`, decoding every image.

    Returns readable lines, and the data or None if it cannot be trained on. Raises `UserError` if no data set is found.
    """
    sources = find_sources(directory, settings)
    found = [(split, source) for split, several in sources.items() for source in several]
    lines, is_valid = [], True
    with progress.task("decoding", total=sum(len(source.tree["images"]) for _, source in found)) as bar:
        for split, source in found:
            lines += _description(split, source)
            issues = find_issues(
                source.tree,
                source.images,
                settings.bad_boxes,
                known=source.issues,
                decode=True,
                after_each=bar.advance,
            )
            lines += [f"  {'ERROR' if issue.fatal else 'note'}: {issue}" for issue in issues]
            is_valid = is_valid and not any(issue.fatal for issue in issues)
    data = None
    if is_valid:
        try:
            data = split_data(directory, sources, settings, seed=0)  # checks the splits together
            lines += [f"note: {issue}" for issue in data.shared]
        except UserError as error:
            lines.append(f"ERROR: {error}")
    lines.append("No errors found." if data else "Fix the errors before training.")
    return lines, data


def _description(split: str, source: Source) -> list[str]:
    tree = source.tree
    names = {category["id"]: category["name"] for category in tree["categories"]}
    counts = Counter(annotation["category_id"] for annotation in tree["annotations"])
    return [
        f"{split}: {source.format.describe(source)}",
        f"  {len(tree['images']):,} images, {len(tree['annotations']):,} boxes, {len(names)} categories",
        "  boxes by category: " + ", ".join(f"{name} {counts[id]:,}" for id, name in names.items()),
    ]
