"""Drawing for the embedded data set: random numbers, backgrounds, polygons, textures and clutter.

A canvas is a float64 array (height, width, 3) with values in 0..255. The pixels must be the same on every machine.
Therefore this file uses only operations that IEEE 754 defines to the last bit (+ - * / sqrt, comparisons, rounding),
integers, and the doubles of NumPy's frozen `RandomState`. It avoids sines, powers, matrix products and float sums,
whose last bit depends on the machine.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
T = TypeVar("T")

FULL = 4
"""Coverage of a pixel whose 2 x 2 samples all lie inside a polygon."""


class Stream:
    """The random numbers of one image: a function of seed, split and index."""

    def __init__(self, seed: int, split: str, index: int) -> None:
        digest = hashlib.sha256(f"{seed}/{split}/{index}".encode()).digest()
        self._state = np.random.RandomState(np.frombuffer(digest, dtype="<u4").astype(np.uint32))

    def array(self, *shape: int) -> Floats:
        """Uniform numbers in [0, 1)."""
        return self._state.random_sample(shape)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._state.random_sample())

    def below(self, count: int) -> int:
        """An integer in 0..count-1. (`randint` has another integer width on some platforms.)"""
        return int(float(self._state.random_sample()) * count)

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def log_uniform(self, low: float, high: float) -> float:
        """A number whose logarithm is uniform, by geometric bisection: `pow` is not exact."""
        position = float(self._state.random_sample())
        for _ in range(12):
            middle = math.sqrt(low * high)
            position *= 2
            if position < 1:
                high = middle
            else:
                low, position = middle, position - 1
        return math.sqrt(low * high)

    def rotation(self) -> tuple[float, float]:
        """Cosine and sine of a random angle: a rational point on the unit circle, in one of the four quadrants."""
        t = self.uniform(0, 1)
        cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        return self.pick(((cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine)))

    def tilt(self) -> tuple[float, float]:
        """Cosine and sine of a random angle within 23 degrees of upright, rational as those of `rotation`."""
        t = self.uniform(-0.2, 0.2)
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)

    def color(self) -> Floats:
        return self.array(3) * 255


def value_noise(stream: Stream, height: int, width: int, cell: float) -> Floats:
    """Smooth noise in [0, 1) of (height, width): random values on a lattice of `cell` pixels, blended in between."""
    lattice = stream.array(int(height / cell) + 3, int(width / cell) + 3)
    row, row_weight = _lattice_positions(stream, height, cell)
    column, column_weight = _lattice_positions(stream, width, cell)
    rows = lattice[row] + (lattice[row + 1] - lattice[row]) * row_weight[:, None]
    left = rows[:, column]
    return left + (rows[:, column + 1] - left) * column_weight


def _lattice_positions(stream: Stream, length: int, cell: float) -> tuple[Ints, Floats]:
    position = np.arange(length) / cell + stream.uniform(0, 1)
    index = np.floor(position)
    fraction = position - index
    return index.astype(np.int64), fraction * fraction * (3 - 2 * fraction)


def draw_background(stream: Stream, size: int) -> Floats:
    """Two random colors, mixed by octaves of value noise, from a third of the image down to 2 pixels."""
    first = stream.color()
    second = first + (stream.color() - first) * 0.35
    roughness = stream.uniform(0.5, 0.85)
    mixture = np.zeros((size, size))
    total, weight, cell = 0.0, 1.0, size / stream.uniform(2, 6)
    while cell >= 2:
        mixture += value_noise(stream, size, size, cell) * weight
        total, weight, cell = total + weight, weight * roughness, cell / 2
    # The average of octaves is concentrated around 0.5: spread it, so that both colors are visible.
    mixture = np.clip((mixture / total - 0.5) * 2.5 + 0.5, 0, 1)
    return first + (second - first) * mixture[:, :, None]


@dataclass(frozen=True)
class Patch:
    """A rasterized polygon: the number of samples of each pixel that lie inside (0..FULL), and the window's corner."""

    top: int
    left: int
    coverage: npt.NDArray[np.uint8]

    @property
    def mask(self) -> Bools:
        """The pixels that belong to the polygon: those at least half covered."""
        return 2 * self.coverage >= FULL

    @property
    def window(self) -> tuple[slice, slice]:
        height, width = self.coverage.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def clipped(self, size: int) -> "Patch":
        """The part inside an image of size x size; its window may be empty."""
        top, left = min(max(self.top, 0), size), min(max(self.left, 0), size)
        bottom = max(min(self.top + self.coverage.shape[0], size), top)
        right = max(min(self.left + self.coverage.shape[1], size), left)
        return Patch(top, left, self.coverage[top - self.top : bottom - self.top, left - self.left : right - self.left])


def rasterize(loops: Sequence[Floats]) -> Patch:
    """Fill closed loops of points (n, 2: x, y in pixels) by the even-odd rule: a loop inside another is a hole."""
    starts = np.concatenate(loops)
    ends = np.concatenate([np.concatenate((loop[1:], loop[:1])) for loop in loops])
    left, top = (int(v) for v in np.floor(starts.min(axis=0)))
    right, bottom = (int(v) for v in np.ceil(starts.max(axis=0)))
    height, width = max(bottom - top, 1), max(right - left, 1)

    sample_y = top + (np.arange(2 * height) + 0.5) / 2
    edge, row = np.nonzero((starts[:, 1, None] <= sample_y) != (ends[:, 1, None] <= sample_y))
    (x, y), (end_x, end_y) = starts[edge].T, ends[edge].T
    crossing = x + (sample_y[row] - y) * (end_x - x) / (end_y - y)

    # A sample is inside when an odd number of edges crosses its row on its left.
    samples = 2 * width
    column = np.clip(np.ceil((crossing - left) * 2 - 0.5).astype(np.int64), 0, samples)
    crossings = np.bincount(row * (samples + 1) + column, minlength=len(sample_y) * (samples + 1))
    odd = (crossings & 1).astype(np.uint8).reshape(len(sample_y), samples + 1)
    inside = np.bitwise_xor.accumulate(odd[:, :-1], axis=1)
    rows_of_pixels = inside[0::2] + inside[1::2]
    return Patch(top, left, rows_of_pixels[:, 0::2] + rows_of_pixels[:, 1::2])


def paint(canvas: Floats, patch: Patch, color: Floats) -> None:
    """Blend `color`, (3,) or (height, width, 3) as the patch, into the canvas. The patch must lie inside the canvas."""
    under = canvas[patch.window]
    under += (color - under) * (patch.coverage / FULL)[:, :, None]


def erode(coverage: npt.NDArray[np.uint8], pixels: int) -> npt.NDArray[np.uint8]:
    """The minimum of the coverage within `pixels` up, down, left and right: the shape without its border."""
    least = np.pad(coverage, pixels)
    for _ in range(pixels):
        sides = (least[:-2, 1:-1], least[2:, 1:-1], least[1:-1, :-2], least[1:-1, 2:])
        least = np.minimum.reduce([least[1:-1, 1:-1], *sides])
    return least


def texture(stream: Stream, patch: Patch, extent: float) -> Floats:
    """The weight of the second color at each pixel of the patch, 0..1. Its angle is independent of the shape's."""
    height, width = patch.coverage.shape
    kind = stream.pick(("stripes", "checks", "dots", "noise", "gradient"))
    step = stream.uniform(2, 3 + extent / 10)
    if kind == "noise":
        return value_noise(stream, height, width, step)
    cosine, sine = stream.rotation()
    x, y = np.arange(width) - width / 2, (np.arange(height) - height / 2)[:, None]
    along, across = x * cosine - y * sine, x * sine + y * cosine
    mixture: Floats
    if kind == "gradient":
        mixture = np.clip(along / extent + 0.5, 0, 1)
    elif kind == "stripes":
        mixture = np.floor(along / step) % 2
    elif kind == "checks":
        mixture = (np.floor(along / step) + np.floor(across / step)) % 2
    else:
        along, across = along / (2 * step), across / (2 * step)
        along, across = along - np.floor(along) - 0.5, across - np.floor(across) - 0.5
        mixture = (along * along + across * across < 0.1).astype(np.float64)
    return mixture


def visible_colors(stream: Stream, background: Floats) -> tuple[Floats, Floats]:
    """Two random colors that are, as is their mean, easy to distinguish from the background."""
    black_or_white = np.full(3, 0.0 if _brightness(background) > 127 else 255.0)
    colors = (stream.color() for _ in range(20))
    first = next((color for color in colors if _contrast(color, background) >= 110), black_or_white)
    mixed = (first + (stream.color() - first) * stream.uniform(0.2, 0.6) for _ in range(20))
    pairs = ((color, (first + color) / 2) for color in mixed)
    visible = (color for color, mean in pairs if min(_contrast(color, background), _contrast(mean, background)) >= 80)
    return first, next(visible, first)


def _contrast(first: Floats, second: Floats) -> float:
    """Difference of brightness, to which eyes are most sensitive, plus half the largest one of a channel: 0..382."""
    difference = first - second
    return abs(_brightness(difference)) + float(abs(difference).max()) / 2


def _brightness(color: Floats) -> float:
    red, green, blue = color.tolist()
    return float(0.3 * red + 0.59 * green + 0.11 * blue)


def add_clutter(stream: Stream, canvas: Floats, amount: float) -> None:
    """Draw lines, ragged blobs and specks, none like a class; `amount` 1 draws 46 of them on 128 x 128 pixels."""
    size = len(canvas)
    units = amount * size * size / (128 * 128)
    for _ in range(int(8 * units + 0.5)):
        paint(canvas, rasterize([_random_line(stream, size)]).clipped(size), stream.color())
    for _ in range(int(8 * units + 0.5)):
        radius = stream.log_uniform(3, size / 6)
        patch = rasterize([_random_blob(stream, size, radius)]).clipped(size)
        under, opacity = canvas[patch.window], stream.uniform(0.3, 1)
        first, second = stream.color(), stream.color()
        color = first + (second - first) * texture(stream, patch, 2 * radius)[:, :, None]
        paint(canvas, patch, under + (color - under) * opacity)
    specks = int(30 * units + 0.5)
    corners = (stream.array(specks, 2) * size).astype(np.int64)
    sides = 1 + (stream.array(specks, 2) * 2).astype(np.int64)
    for (y, x), (height, width), color in zip(corners, sides, stream.array(specks, 3) * 255, strict=True):
        canvas[y : y + height, x : x + width] = color


def _random_line(stream: Stream, size: int) -> Floats:
    """A bent line, far longer than wide."""
    start, cosine, sine = stream.array(2) * size, *stream.rotation()
    length, half_width = stream.uniform(0.15, 0.5) * size, stream.uniform(0.3, 0.8)
    along, across = np.array([cosine, sine]), np.array([-sine, cosine])
    bend = start + along * (length / 2) + across * (stream.uniform(-0.2, 0.2) * length)
    end, side = start + along * length, across * half_width
    return np.array([start - side, bend - side, end - side, end + side, bend + side, start + side])


def _random_blob(stream: Stream, size: int, radius: float) -> Floats:
    """A ragged outline, more elongated than any disc or star that `pose` makes."""
    lengths = radius * (0.25 + stream.array(len(_SPOKES)) * 0.75)
    oblong = _SPOKES * lengths[:, None] * np.array([1.0, 0.5])
    return stream.array(2) * size + _rotate(oblong, *stream.rotation())


def circle(points: int, radius: float = 1.0, center_x: float = 0.0) -> Floats:
    """A polygon of `points` (a multiple of 4) rational points on a circle, starting on the x axis."""
    t = np.arange(points // 4) / (points // 4)
    x, y = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    quadrants = [np.stack(pair, axis=1) for pair in ((x, y), (-y, x), (-x, -y), (y, -x))]
    loop: Floats = np.concatenate(quadrants) * radius + np.array([center_x, 0.0])
    return loop


def _rotate(points: Floats, cosine: float, sine: float) -> Floats:
    x, y = points[:, 0], points[:, 1]
    return np.stack((x * cosine - y * sine, x * sine + y * cosine), axis=1)


_SPOKES = circle(12)


def pose(stream: Stream, loops: Sequence[Floats], extent: float) -> list[Floats]:
    """Stretch and tilt the loops slightly at random, center their box on 0, 0 and scale its longer side to `extent`."""
    stretch = stream.log_uniform(0.8, 1.25)
    cosine, sine = stream.tilt()
    turned = [_rotate(loop * np.array([stretch, 1.0]), cosine, sine) for loop in loops]
    low, high = turned[0].min(axis=0), turned[0].max(axis=0)
    scale = extent / float((high - low).max())
    return [(loop - (low + high) / 2) * scale for loop in turned]
