"""A detection data set in memory, as packed arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detnas.data.packed_paths import PackedPaths


class Category(NamedTuple):
    """A category with the id of the data set. Its label is its index in `DetectionSet.categories`."""

    id: int
    name: str


@dataclass(frozen=True)
class DetectionSet:
    """N images with B boxes in all."""

    files: PackedPaths
    image_ids: tuple[int, ...]
    sizes: NDArray[np.int64]
    """(N, 2): width and height in pixels."""
    boxes: NDArray[np.float64]
    """(B, 4): x, y, width, height in pixels, ordered by image."""
    labels: NDArray[np.int64]
    """(B,): indices into `categories`."""
    areas: NDArray[np.float64]
    """(B,) in square pixels, by which COCO AP distinguishes object sizes."""
    crowd: NDArray[np.bool_]
    """(B,): whether a box is not trained on and ignored in evaluation."""
    starts: NDArray[np.int64]
    """(N + 1,): the boxes of image i are rows `starts[i]:starts[i + 1]`."""
    categories: tuple[Category, ...]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def image_of(self) -> NDArray[np.int64]:
        """(B,): the index of each box's image."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def rows_of(self, index: int) -> slice:
        """The rows of the boxes of image `index`."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def training_boxes(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Boxes (n, 4) as x1, y1, x2, y2, clipped to the image, and labels (n,); crowds are left out."""
        keep = ~self.crowd[self.rows_of(index)]
        boxes = self.boxes[self.rows_of(index)][keep].copy()
        boxes[:, 2:] += boxes[:, :2]
        width, height = self.sizes[index]
        return np.clip(boxes, 0, [width, height, width, height]), self.labels[self.rows_of(index)][keep]

    def subset(self, indices: Sequence[int]) -> "DetectionSet":
        """The images with these indices, in this order."""
        slices = [np.arange(self.rows_of(index).start, self.rows_of(index).stop) for index in indices]
        rows = np.concatenate([*slices, np.empty(0, np.int64)]).astype(np.int64)
        return replace(
            self,
            files=self.files.take(indices),
            image_ids=tuple(self.image_ids[index] for index in indices),
            sizes=self.sizes[list(indices)],
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            areas=self.areas[rows],
            crowd=self.crowd[rows],
            starts=np.cumsum([0, *map(len, slices)]),
        )

    def relabel(self, categories: tuple[Category, ...]) -> "DetectionSet":
        """The same boxes with the labels of other categories, matched by name, which must include all of this set's."""
        label_of = {category.name: label for label, category in enumerate(categories)}
        new = np.array([label_of[category.name] for category in self.categories], np.int64)
        return replace(self, labels=new[self.labels], categories=categories)

    def ground_truth(self) -> dict[str, Any]:
        """The data set as a COCO dictionary, with the image and category ids of its files."""
        annotations = [
            {
                "id": row + 1,
                "image_id": self.image_ids[image],
                "category_id": self.categories[self.labels[row]].id,
                "bbox": self.boxes[row].tolist(),
                "area": float(self.areas[row]),
                "iscrowd": int(self.crowd[row]),
            }
            for row, image in enumerate(self.image_of.tolist())
        ]
        images = [
            {"id": image_id, "file_name": file.name, "width": int(width), "height": int(height)}
            for image_id, file, (width, height) in zip(self.image_ids, self.files, self.sizes, strict=True)
        ]
        categories = [category._asdict() for category in self.categories]
        return {"images": images, "annotations": annotations, "categories": categories}

    def results(
        self, index: int, boxes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any]
    ) -> list[dict[str, Any]]:
        """Detections on image `index` (boxes (n, 4) as x1, y1, x2, y2; labels from 0) as COCO results."""
        return [
            {
                "image_id": self.image_ids[index],
                "category_id": self.categories[label].id,
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                "score": float(score),
            }
            for (x1, y1, x2, y2), score, label in zip(boxes, scores, labels, strict=True)
        ]


def join(parts: Sequence[DetectionSet]) -> DetectionSet:
    """Concatenate sets that have the same categories. If an image id occurs twice, all images are numbered from 1."""
    if len(parts) == 1:
        return parts[0]
    image_ids = [id for part in parts for id in part.image_ids]
    if len(set(image_ids)) < len(image_ids):
        image_ids = list(range(1, len(image_ids) + 1))
    counts = np.concatenate([np.diff(part.starts) for part in parts])
    return DetectionSet(
        files=PackedPaths(file for part in parts for file in part.files),
        image_ids=tuple(image_ids),
        sizes=np.concatenate([part.sizes for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        areas=np.concatenate([part.areas for part in parts]),
        crowd=np.concatenate([part.crowd for part in parts]),
        starts=np.concatenate([[0], np.cumsum(counts)]),
        categories=parts[0].categories,
    )
