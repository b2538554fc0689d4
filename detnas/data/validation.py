"""Validation of a data set, given as a COCO dictionary and the folder of its images, whatever its format."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Literal

from detnas.config.limits import MOST_CATEGORIES
from detnas.data.decoding import (
    BRIGHTEN,
    LARGE,
    TILING,
    Header,
    ImageTooLarge,
    Size,
    UnreadableImage,
    read_header,
)
from detnas.utils.files import is_file
from detnas.utils.text import describe_value, printable

READERS = 16
"""Number of threads that read image headers: network disks have a high latency."""
OVERHANG = 1.0
"""Pixels by which boxes may extend beyond their image, since tools round. They are clipped for training."""
MIN_SIDE = 0.01
"""Minimum width and height in pixels of a box within its image: smaller ones vanish in 32-bit floats."""

MOST_EXAMPLE = 400
"""Letters of an example."""

BadBoxes = Literal["refuse", "drop", "clip"]


@dataclass(frozen=True)
class Issue:
    """A kind of issue with a data set: its count, the first example, and whether it prevents training."""

    what: str
    count: int
    example: str
    remedy: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        example = printable(self.example, MOST_EXAMPLE)
        text = f"{self.count:,} {self.what}" + (f" (first: {example})" if example else "")
        return f"{text}; {self.remedy}" if self.remedy else text


def find_issues(
    tree: dict[str, Any],
    images: Path,
    bad_boxes: BadBoxes = "refuse",
    *,
    known: Sequence[Issue] = (),
    decode: bool = False,
    after_each: Callable[[], None] = lambda: None,
) -> list[Issue]:
    """All issues, fatal ones first, with those that are `known` already.

    Of the images, which lie under `images`, the headers are read; with `decode`, all are decoded. `after_each` is
    called after each image. Messages refer to an annotation by its `where`, if it has one, instead of by its id.
    """
    issues = [*_list_issues(tree), *_image_issues(tree, images, decode, after_each), *known]
    return sorted(issues + _box_issues(tree, bad_boxes), key=lambda issue: not issue.fatal)


def issue_of(what: str, examples: Sequence[str], remedy: str = "", **flags: bool) -> list[Issue]:
    """A list of one issue, or an empty one if there are no examples."""
    return [Issue(what, len(examples), examples[0], remedy, **flags)] if examples else []


def renamed_issue(examples: Sequence[str]) -> list[Issue]:
    """The note on images that are not called what the annotations call them; an example is "a.png is a.jpg"."""
    return issue_of("images found by another name than the annotations have", examples, fatal=False)


def _list_issues(tree: dict[str, Any]) -> list[Issue]:
    """Issues with the lists and their ids."""
    issues = []
    if not tree["images"] or not tree["categories"]:
        key = "categories" if tree["images"] else "images"
        issues.append(Issue(key, 0, "", f"the list {key!r} is empty; there is nothing to train on"))
    elif not tree["annotations"]:
        issues.append(Issue("annotations", 0, "", "without a single box there is nothing to train on"))
    if (count := len(tree["categories"])) > MOST_CATEGORIES:
        remedy = f"that many cannot be scored; use at most {MOST_CATEGORIES:,}"
        issues.append(Issue("categories", count, "", remedy))
    for key in ("images", "categories"):
        repeated = [f"id {describe_value(id)}" for id in _repeated(entry["id"] for entry in tree[key])]
        issues += issue_of(f"ids that several {key} share", repeated, "give each its own")
    # Otherwise a split could put a file into both the training and the evaluation set.
    files = _repeated(os.path.normpath(image["file_name"]) for image in tree["images"])
    issues += issue_of("files that several images share", files, "list each file once, with all its boxes")
    images, categories = ({entry["id"] for entry in tree[key]} for key in ("images", "categories"))
    unlisted = [f"image_id {describe_value(a['image_id'])}" for a in tree["annotations"] if a["image_id"] not in images]
    issues += issue_of("annotations of images that are not listed", unlisted, "list the image, or remove them")
    undefined = [
        f"category_id {describe_value(a['category_id'])}"
        for a in tree["annotations"]
        if a["category_id"] not in categories
    ]
    defined = ", ".join(map(describe_value, sorted(categories)[:10])) + (", …" if len(categories) > 10 else "")
    remedy = f"define it in categories (defined: {defined})"
    return issues + issue_of("annotations whose category_id no category defines", undefined, remedy)


def _image_issues(tree: dict[str, Any], images: Path, decode: bool, after_each: Callable[[], None]) -> list[Issue]:
    """Issues with the image files, and how their EXIF orientation is interpreted (see `decoding`)."""
    missing, broken, resized, shown, stored, either, huge, large, dark = (list[str]() for _ in range(9))

    def read(image: dict[str, Any]) -> Header | UnreadableImage | None:
        file = images / image["file_name"]
        try:
            return read_header(file, decode=decode) if is_file(file) else None
        except UnreadableImage as error:
            return error

    with ThreadPool((os.cpu_count() or 1) if decode else READERS) as pool:
        for image, header in zip(tree["images"], pool.imap(read, tree["images"], chunksize=16), strict=True):
            after_each()
            name, stated = image["file_name"], (image["width"], image["height"])
            if isinstance(header, Header):
                large += [f"{name}, {header.memory:.1f} GB of memory"] if header.is_large else []
                dark += [name] if header.is_dark else []
            if header is None:
                missing.append(name)
            elif isinstance(header, ImageTooLarge):
                huge.append(f"{name}, {header}")
            elif isinstance(header, UnreadableImage):
                broken.append(f"{name}, {header}")
            elif stated not in (header.stored, header.shown):
                resized.append("{}: {}x{}, not {}x{}".format(name, *header.shown, *stated))
            elif header.orientation != 1:
                tagged = shown if header.is_turned(stated) else stored
                tagged.append(f"{name}, orientation {header.orientation}")
                if header.stored == header.shown:
                    either.append(tagged[-1])
    remedy = "add them, or name their folder by data.train_images or data.val_images"
    tag = "images with an EXIF orientation"
    return [
        *issue_of(f"images that are not under {images}", missing, remedy),
        *issue_of("files that are no images, or damaged", broken, "replace them"),
        *issue_of("images that are too large for the memory", huge, TILING),
        *issue_of("images of another size than the annotations say", resized, "fix width and height, or the images"),
        *issue_of(
            f"{tag} that have the stated size both as viewers show them and as stored, while others have it only as "
            "stored",
            either if stored else [],
            "it is ambiguous which of the two their boxes refer to; remove the tag, or rotate images and boxes",
        ),
        *issue_of(f"{tag}, read as viewers show them", shown, fatal=False),
        *issue_of(f"{tag}, read as stored, since only then they have the stated size", stored, fatal=False),
        *issue_of(f"images of {LARGE / 1e6:.0f} megapixels or more, which take long to read", large, fatal=False),
        *issue_of("images of 16 bits a channel that are nearly black when read", dark, BRIGHTEN, fatal=False),
    ]


def _box_issues(tree: dict[str, Any], bad_boxes: BadBoxes) -> list[Issue]:
    """Issues with the boxes of listed images."""
    sizes = image_sizes(tree)
    listed = [a for a in tree["annotations"] if a["image_id"] in sizes]
    flat = [describe(a) for a in tree["annotations"] if not has_area(a["bbox"])]
    outside = [a for a in listed if has_area(a["bbox"]) and not is_inside(a, sizes)]
    bare = sizes.keys() - {a["image_id"] for a in tree["annotations"]}
    without = [
        f"{image['file_name']}, image id {describe_value(image['id'])}"
        for image in tree["images"]
        if image["id"] in bare
    ]
    crowds = [describe(a) for a in tree["annotations"] if a.get("iscrowd")]
    return [
        *_share_issues([describe(a, sizes) for a in listed if _is_share(a, sizes)], len(tree["annotations"])),
        *_bad_box_issues(flat, outside, sizes, bad_boxes),
        *issue_of("images without boxes", without, fatal=False),
        *issue_of("crowd or difficult boxes, left out of training and ignored in evaluation", crowds, fatal=False),
    ]


def _share_issues(shares: list[str], boxes: int) -> list[Issue]:
    """Issues with boxes that look like shares of the image; fatal if all of the set do."""
    remedy = "if they are shares of the image, from 0 to 1, multiply them by its width and height"
    return issue_of("boxes within the first pixel of their image", shares, remedy, fatal=len(shares) == boxes)


def _bad_box_issues(
    flat: list[str], outside: list[dict[str, Any]], sizes: dict[int, Size], bad_boxes: BadBoxes
) -> list[Issue]:
    """Issues with boxes without area, described, and with annotations that lie outside their image."""
    described = [describe(a, sizes) for a in outside]
    if bad_boxes == "refuse":
        left_out = "data.bad_boxes=drop to leave them out"
        return [
            *issue_of("boxes without area", flat, f"fix them, or set {left_out}"),
            *issue_of(
                "boxes outside their image",
                described,
                f"{_corner_remedy(outside, sizes)}fix them, or set data.bad_boxes=clip to cut them at its border, or "
                f"{left_out}",
            ),
        ]
    kept = [bad_boxes == "clip" and has_area(clip_box(a["bbox"], sizes[a["image_id"]])) for a in outside]
    dropped = "left out, as data.bad_boxes says"
    return [
        *issue_of("boxes without area", flat, dropped, fatal=False),
        *issue_of(
            "boxes outside their image",
            [text for text, is_kept in zip(described, kept, strict=True) if is_kept],
            "cut at its border, as data.bad_boxes says",
            fatal=False,
        ),
        *issue_of(
            "boxes outside their image" + (", of which nothing is within" if bad_boxes == "clip" else ""),
            [text for text, is_kept in zip(described, kept, strict=True) if not is_kept],
            dropped,
            fatal=False,
        ),
    ]


def _corner_remedy(outside: list[dict[str, Any]], sizes: dict[int, Size]) -> str:
    """The beginning of a remedy for boxes that would all be right if they were the corners x1, y1, x2, y2."""
    for annotation in outside:
        (x1, y1, x2, y2), (width, height) = annotation["bbox"], sizes[annotation["image_id"]]
        if "where" in annotation or not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            return ""
    return "if they are x1, y1, x2, y2, write x, y, width, height; otherwise " if len(outside) > 1 else ""


def _repeated(values: Iterable[Any]) -> list[Any]:
    return [value for value, times in Counter(values).items() if times > 1]


def describe(annotation: dict[str, Any], sizes: dict[int, Size] | None = None) -> str:
    """Where an annotation stands and its box, with the size of its image if `sizes` are given."""
    image = annotation["image_id"]
    text: str | None = annotation.get("where")
    if text is None:
        id = describe_value(annotation["id"]) if "id" in annotation else "?"
        text = f"annotation {id} of image {describe_value(image)}, bbox {describe_value(annotation['bbox'])}"
    return f"{text} in {sizes[image][0]}x{sizes[image][1]} pixels" if sizes else text


def image_sizes(tree: dict[str, Any]) -> dict[int, Size]:
    """Width and height by image id."""
    return {image["id"]: (image["width"], image["height"]) for image in tree["images"]}


def has_area(box: Sequence[float]) -> bool:
    """Whether a box (x, y, width, height) has at least the minimum width and height."""
    return box[2] >= MIN_SIDE and box[3] >= MIN_SIDE


def is_inside(annotation: dict[str, Any], sizes: dict[int, Size]) -> bool:
    """Whether a box lies in its image, up to `OVERHANG`. `sizes`: width and height by image id."""
    x, y, width, height = annotation["bbox"]
    image_width, image_height = sizes[annotation["image_id"]]
    return all(
        -OVERHANG <= start <= limit - MIN_SIDE and MIN_SIDE <= start + length <= limit + OVERHANG
        for start, length, limit in ((x, width, image_width), (y, height, image_height))
    )


def clip_box(box: Sequence[float], size: Size) -> list[float]:
    """A box (x, y, width, height) cut at the border of its image; without area if nothing of it is within."""
    (x, y, width, height), (right, bottom) = box, size
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + width, right), min(y + height, bottom)
    return [x1, y1, x2 - x1, y2 - y1]


def _is_share(annotation: dict[str, Any], sizes: dict[int, Size]) -> bool:
    """Whether a box lies within the first pixel of a larger image."""
    x, y, width, height = annotation["bbox"]
    return max(sizes[annotation["image_id"]]) > 1 and x + width <= 1 and y + height <= 1
