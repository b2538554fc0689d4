"""Images of shapes: scenes with several objects for detection, crops with one object for classification.

Only the shape determines the class: color, texture, size and angle are drawn independently of it.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detnas.data.shapes.render import (
    FULL,
    Floats,
    Ints,
    Patch,
    Stream,
    add_clutter,
    circle,
    draw_background,
    erode,
    paint,
    pose,
    rasterize,
    texture,
    visible_colors,
)

Pixels = npt.NDArray[np.uint8]

MIN_VISIBLE = 0.6
"""An object of which a smaller fraction is visible has no box."""
NO_OBJECT = -1
"""The owner of a pixel that no object covers."""
DARKEST = 40
"""Maximum of each channel of an outline's color."""


def _crescent() -> Floats:
    tip_x, tip_y = 0.625, 0.7806  # where the circle meets the one that is cut out
    outer = [point for point in circle(32) if point[0] < tip_x]
    bite = [point for point in circle(32, 0.8, 0.45) if point[0] < tip_x]
    return np.array([(tip_x, tip_y), *outer, (tip_x, -tip_y), *reversed(bite)])


def _rectangle(half_width: float, half_height: float) -> Floats:
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (half_width, half_height)


_STAR = [(0.0, -1.0), (0.2351, -0.3236), (0.9511, -0.3090), (0.3804, 0.1236), (0.5878, 0.8090),
         (0.0, 0.4), (-0.5878, 0.8090), (-0.3804, 0.1236), (-0.9511, -0.3090), (-0.2351, -0.3236)]  # fmt: skip
_CROSS = [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
          (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)]  # fmt: skip

OUTLINES: dict[str, tuple[Floats, ...]] = {
    "disc": (circle(32),),
    "ring": (circle(32), circle(32, 0.55)),
    "square": (_rectangle(1, 1),),
    "frame": (_rectangle(1, 1), _rectangle(0.55, 0.55)),
    "triangle": (np.array([(0.0, -1.0), (0.866, 0.5), (-0.866, 0.5)]),),
    "cross": (np.array(_CROSS),),
    "star": (np.array(_STAR),),
    "crescent": (_crescent(),),
    "bar": (_rectangle(1, 0.22),),
    "arrow": (np.array([(0, -1.1), (0.9, 0), (0.3, 0), (0.3, 1.1), (-0.3, 1.1), (-0.3, 0), (-0.9, 0)]),),
    "corner": (np.array([(-1, -1), (-0.35, -1), (-0.35, 0.35), (1, 0.35), (1, 1), (-1, 1)]),),
    "hourglass": (np.array([(-0.8, -1), (0.8, -1), (0.15, 0), (0.8, 1), (-0.8, 1), (-0.15, 0)]),),
}
"""Closed loops of points by class: the outline, then holes. Each is its own mirror image, so flips keep classes."""

CLASSES: tuple[str, ...] = tuple(OUTLINES)


class VisibleObject(NamedTuple):
    """An object that has a box: an index into `CLASSES`, and x, y, width, height of its visible pixels."""

    label: int
    box: tuple[int, int, int, int]


class PlacedObject(NamedTuple):
    label: int
    pixels: int
    """Number of pixels of the whole object, including those outside the image."""
    patch: Patch
    """The part inside the image."""


def draw_scene(
    stream: Stream, size: int, min_object: int, max_objects: int, clutter: float
) -> tuple[Pixels, list[VisibleObject]]:
    """One image (size, size, 3) for detection and its objects that have a box, from back to front."""
    canvas = draw_background(stream, size)
    add_clutter(stream, canvas, clutter)
    owner = np.full((size, size), NO_OBJECT)
    placed = []
    for number in range(1 + stream.below(max_objects)):
        extent = stream.log_uniform(min_object, size / 2)
        shape = _place(stream, stream.below(len(CLASSES)), extent, size, _free_center(stream, owner, extent))
        _paint_object(stream, canvas, shape, extent)
        owner[shape.patch.window][shape.patch.mask] = number
        placed.append(shape)
    visible = [_visible(shape, number, owner) for number, shape in enumerate(placed)]
    return _to_bytes(stream, canvas), [shape for shape in visible if shape is not None]


def draw_crop(stream: Stream, label: int, size: int, clutter: float) -> Pixels:
    """One image (size, size, 3) for classification: an object near the center, sometimes another across its edge."""
    canvas = draw_background(stream, size)
    add_clutter(stream, canvas, clutter)
    extent = stream.uniform(0.5, 0.9) * size
    slack = (size - extent) / 2
    shape = _place(stream, label, extent, size, size / 2 + (stream.array(2) * 2 - 1) * slack)
    _paint_object(stream, canvas, shape, extent)
    if stream.below(3) == 0:
        _cover_edge(stream, canvas, shape, extent)
    return _to_bytes(stream, canvas)


def _free_center(stream: Stream, owner: Ints, extent: float) -> Floats:
    """A random center, if possible not on another object. The object may extend slightly beyond the image."""
    size = len(owner)
    for _ in range(4):
        center = 0.35 * extent + stream.array(2) * (size - 0.7 * extent)
        if owner[int(center[1]), int(center[0])] == NO_OBJECT:
            break
    return center


def _place(stream: Stream, label: int, extent: float, size: int, center: Floats) -> PlacedObject:
    loops = pose(stream, OUTLINES[CLASSES[label]], extent)
    whole = rasterize([loop + center for loop in loops])
    return PlacedObject(label, int(whole.mask.sum()), whole.clipped(size))


def _paint_object(stream: Stream, canvas: Floats, shape: PlacedObject, extent: float) -> None:
    hidden = canvas[shape.patch.window][shape.patch.mask].astype(np.int64)  # integers: their sum is exact
    first, second = visible_colors(stream, hidden.sum(axis=0) / max(len(hidden), 1))
    fill = first + (second - first) * texture(stream, shape.patch, extent)[:, :, None]
    outline = stream.array(3) * DARKEST
    inside = erode(shape.patch.coverage, 1 if extent < 32 else 2) / FULL
    paint(canvas, shape.patch, outline + (fill - outline) * inside[:, :, None])


def _cover_edge(stream: Stream, canvas: Floats, shape: PlacedObject, extent: float) -> None:
    size = len(canvas)
    cosine, sine = stream.rotation()
    center = size / 2 + np.array([cosine, sine]) * (0.55 * extent)
    cover = _place(stream, stream.below(len(CLASSES)), extent * stream.uniform(0.3, 0.8), size, center)
    free = np.zeros((size, size), dtype=bool)
    free[shape.patch.window] = shape.patch.mask
    free[cover.patch.window] &= ~cover.patch.mask
    if free.sum() >= 0.7 * shape.pixels:
        _paint_object(stream, canvas, cover, extent)


def _visible(shape: PlacedObject, number: int, owner: Ints) -> VisibleObject | None:
    rows, columns = np.nonzero(owner[shape.patch.window] == number)
    if len(rows) == 0 or len(rows) < MIN_VISIBLE * shape.pixels:
        return None
    x, y = shape.patch.left + int(columns.min()), shape.patch.top + int(rows.min())
    return VisibleObject(shape.label, (x, y, int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1))


def _to_bytes(stream: Stream, canvas: Floats) -> Pixels:
    """The canvas as uint8, with a little noise added. Changes the canvas."""
    noise = stream.array(*canvas.shape)
    noise -= 0.5
    noise *= stream.uniform(4, 16)
    canvas += noise
    np.clip(canvas, 0, 255, out=canvas)
    canvas += 0.5
    return canvas.astype(np.uint8)
