"""Validation of a data set, given as a COCO dictionary and the folder of its images, whatever its format."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from detnas.data.decoding import BRIGHTEN, LARGE, TILING, Header, ImageTooLarge, UnreadableImage, read_header
from detnas.utils.files import is_file

READERS = 16
"""Number of threads that read image headers: network disks have a high latency."""
OVERHANG = 1.0
"""Pixels by which boxes may extend beyond their image, since tools round. They are clipped for training."""
MIN_SIDE = 0.01
"""Minimum width and height in pixels of a box within its image: smaller ones vanish in 32-bit floats."""


@dataclass(frozen=True)
class Issue:
    """A kind of issue with a data set: its count, the first example, and whether it prevents training."""

    what: str
    count: int
    example: str
    remedy: str = ""
    fatal: bool = True
    about_boxes: bool = False
    """Whether `data.bad_boxes=drop` resolves it."""

    def __str__(self) -> str:
        text = f"{self.count:,} {self.what}" + (f" (first: {self.example})" if self.example else "")
        return f"{text}; {self.remedy}" if self.remedy else text


def find_issues(
    tree: dict[str, Any], images: Path, *, decode: bool = False, after_each: Callable[[], None] = lambda: None
) -> list[Issue]:
    """All issues, fatal ones first.

    Of the images, which lie under `images`, the headers are read; with `decode`, all are decoded. `after_each` is
    called after each image. Messages refer to an annotation by its `where`, if it has one, instead of by its id.
    """
    issues = _list_issues(tree) + _image_issues(tree, images, decode, after_each) + _box_issues(tree)
    return sorted(issues, key=lambda issue: not issue.fatal)


def _issue_of(what: str, examples: list[str], remedy: str = "", **flags: bool) -> list[Issue]:
    """A list of one issue, or an empty one if there are no examples."""
    return [Issue(what, len(examples), examples[0], remedy, **flags)] if examples else []


def _list_issues(tree: dict[str, Any]) -> list[Issue]:
    """Issues with the lists and their ids."""
    issues = []
    if not tree["images"] or not tree["categories"]:
        key = "categories" if tree["images"] else "images"
        issues.append(Issue(key, 0, "", f"the list {key!r} is empty; there is nothing to train on"))
    elif not tree["annotations"]:
        issues.append(Issue("annotations", 0, "", "without a single box there is nothing to train on"))
    for key in ("images", "categories"):
        repeated = [f"id {id}" for id in _repeated(entry["id"] for entry in tree[key])]
        issues += _issue_of(f"ids that several {key} share", repeated, "give each its own")
    # Otherwise a split could put a file into both the training and the evaluation set.
    files = _repeated(os.path.normpath(image["file_name"]) for image in tree["images"])
    issues += _issue_of("files that several images share", files, "list each file once, with all its boxes")
    images, categories = ({entry["id"] for entry in tree[key]} for key in ("images", "categories"))
    unlisted = [f"image_id {a['image_id']}" for a in tree["annotations"] if a["image_id"] not in images]
    issues += _issue_of("annotations of images that are not listed", unlisted, "list the image, or remove them")
    undefined = [f"category_id {a['category_id']}" for a in tree["annotations"] if a["category_id"] not in categories]
    defined = ", ".join(map(str, sorted(categories)[:10])) + (", …" if len(categories) > 10 else "")
    remedy = f"define it in categories (defined: {defined})"
    return issues + _issue_of("annotations whose category_id no category defines", undefined, remedy)


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
        *_issue_of(f"images that are not under {images}", missing, remedy),
        *_issue_of("files that are no images, or damaged", broken, "replace them"),
        *_issue_of("images that are too large for the memory", huge, TILING),
        *_issue_of("images of another size than the annotations say", resized, "fix width and height, or the images"),
        *_issue_of(
            f"{tag} that have the stated size both as viewers show them and as stored, while others have it only as "
            "stored",
            either if stored else [],
            "it is ambiguous which of the two their boxes refer to; remove the tag, or rotate images and boxes",
        ),
        *_issue_of(f"{tag}, read as viewers show them", shown, fatal=False),
        *_issue_of(f"{tag}, read as stored, since only then they have the stated size", stored, fatal=False),
        *_issue_of(f"images of {LARGE / 1e6:.0f} megapixels or more, which take long to read", large, fatal=False),
        *_issue_of("images of 16 bits a channel that are nearly black when read", dark, BRIGHTEN, fatal=False),
    ]


def _box_issues(tree: dict[str, Any]) -> list[Issue]:
    """Issues with the boxes of listed images."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in tree["images"]}
    remedy = "fix them, or set data.bad_boxes=drop to leave them out"
    flat = [_describe(a) for a in tree["annotations"] if not has_area(a["bbox"])]
    outside = [
        _describe(a, sizes)
        for a in tree["annotations"]
        if has_area(a["bbox"]) and a["image_id"] in sizes and not is_inside(a, sizes)
    ]
    bare = sizes.keys() - {a["image_id"] for a in tree["annotations"]}
    without = [f"{image['file_name']}, image id {image['id']}" for image in tree["images"] if image["id"] in bare]
    crowds = [_describe(a) for a in tree["annotations"] if a.get("iscrowd")]
    return [
        *_issue_of("boxes without area", flat, remedy, about_boxes=True),
        *_issue_of("boxes outside their image", outside, remedy, about_boxes=True),
        *_issue_of("images without boxes", without, fatal=False),
        *_issue_of("crowd or difficult boxes, left out of training and ignored in evaluation", crowds, fatal=False),
    ]


def _repeated(values: Iterable[Any]) -> list[Any]:
    return [value for value, times in Counter(values).items() if times > 1]


def _describe(annotation: dict[str, Any], sizes: dict[int, tuple[int, int]] | None = None) -> str:
    image = annotation["image_id"]
    by_id = f"annotation {annotation.get('id', '?')} of image {image}, bbox {annotation['bbox']}"
    text = annotation.get("where", by_id)
    return f"{text} in {sizes[image][0]}x{sizes[image][1]} pixels" if sizes else text


def has_area(box: list[float]) -> bool:
    """Whether a box (x, y, width, height) has at least the minimum width and height."""
    return box[2] >= MIN_SIDE and box[3] >= MIN_SIDE


def is_inside(annotation: dict[str, Any], sizes: dict[int, tuple[int, int]]) -> bool:
    """Whether a box lies in its image, up to `OVERHANG`. `sizes`: width and height by image id."""
    x, y, width, height = annotation["bbox"]
    image_width, image_height = sizes[annotation["image_id"]]
    return all(
        -OVERHANG <= start <= limit - MIN_SIDE and MIN_SIDE <= start + length <= limit + OVERHANG
        for start, length, limit in ((x, width, image_width), (y, height, image_height))
    )
