"""The README's summary of the results: one chart as SVG, and three sentences, made from the files of results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite, nan
from pathlib import Path
from typing import Any

from detnas.utils.estimate import Estimate
from detnas.utils.files import read_json

RECIPES = {"shapes-quick": "Embedded shapes", "own-data-scratch": "Aerial images of trees"}
"""The recipes whose single runs are drawn, and their data."""
METHODS = {"winner": "DetNAS", "shuffle3": "all shuffle3", "random": "random networks"}
"""The networks of a run, and the methods of the comparison that find such networks."""
BARS = {
    "winner": ("found by the search", "#d9622b"),
    "shuffle3": ("all blocks 3x3", "#3b74b4"),
    "random": ("random", "#7d8b99"),
}
"""Label and color of a network's bar."""
LABELS, PANEL, TOP, ROW, BAR, BOTTOM = 150, 236, 62, 34, 20, 34
"""Sizes in pixels: the column of labels, a panel's width, the titles, a row, a bar, the axis."""
TAU = "Kendall's tau"
FULL = 0.6
"""The mAP at the right end of each panel."""


@dataclass(frozen=True)
class Panel:
    """What is compared, in two lines, and the mAP of each network, whose interval is NaN for a single run."""

    title: str
    subtitle: str
    scores: dict[str, Estimate]


def panels(results: Path) -> list[Panel]:
    """The two runs on record, and the comparison at equal MACs."""
    drawn = []
    for recipe, data in RECIPES.items():
        networks = read_json(results / f"{recipe}.json")["networks"]
        scores = {one["network"]: Estimate(one["scores"]["mAP"], nan, nan) for one in networks}
        drawn.append(Panel(data, f"one run of {recipe}", {name: scores[name] for name in METHODS}))
    found = _comparison(results)
    searches = {name: Estimate(**found["methods"][method]["mAP"]) for name, method in METHODS.items()}
    return [*drawn, Panel("Shapes, equal MACs", f"{found['blocks']} searches, 3 trainings each, 95 %", searches)]


def _comparison(results: Path) -> Any:
    return read_json(results / "comparison.json")["estimates"]["both"]


def summary(results: Path, chart: str) -> str:
    """The chart in the file `chart` and what it says, in Markdown."""
    return f'<img src="{chart}" alt="{escape(_description(panels(results)))}">\n\n{sentences(results)}'


def sentences(results: Path) -> str:
    """What the chart says, and how far the supernet's ranking can be trusted, in three sentences."""
    drawn = panels(results)
    shapes, trees, _ = drawn
    runs = " and ".join(
        f"{one.scores['winner'].value:.3f} against {one.scores['shuffle3'].value:.3f} mAP on {data}"
        for one, data in ((shapes, "the embedded shapes"), (trees, "aerial images of trees"))
    )
    is_better = [one.scores["winner"].value > one.scores["shuffle3"].value for one in drawn]
    verdict = "better than" if all(is_better) else "worse than" if not any(is_better) else "not reliably better than"
    ranking = read_json(results / "ranking_quality.json")
    (row,) = (one for one in ranking["rows"] if ranking["claim"].items() <= one.items())
    chance = read_json(results / "surrogate.json")["fitted to all"]["above the mean network"]["comparison"]["DetNAS"]
    less = _comparison(results)["methods"]["all shuffle3"]["DetNAS less this"]
    return (
        f"* Trained for minutes from scratch, the network that the search finds is **{verdict} the plain network whose "
        f"blocks are all 3x3**: {runs} (one run each), and {Estimate(**less):+.3f} mAP at equal MACs.\n"
        f"* The supernet of RetinaNet does rank networks: Kendall's tau with the standalone mAP of "
        f"{ranking['networks']} networks is {Estimate(**row[TAU])}.\n"
        f"* At equal MACs, the mAP of what it finds exceeds that of a random network by "
        f"{Estimate(**chance['mAP']):.3f}, estimated by a surrogate over {chance['searches']} searches.\n"
    )


def draw(results: Path) -> str:
    """The chart as the text of an SVG file."""
    drawn = panels(results)
    width, height = LABELS + PANEL * len(drawn), TOP + ROW * len(BARS) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#24292f">',
        f"<title>{escape(_description(drawn))}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *(
            _text(LABELS - 10, _middle(row) + 4, label, 'text-anchor="end"')
            for row, (label, _) in enumerate(BARS.values())
        ),
    ]
    for number, panel in enumerate(drawn):
        lines += _panel(panel, LABELS + PANEL * number)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _description(drawn: Sequence[Panel]) -> str:
    """For readers who do not see it."""
    return "; ".join(
        f"{panel.title}: " + ", ".join(f"{BARS[name][0]} {score.value:.3f}" for name, score in panel.scores.items())
        for panel in drawn
    )


def _panel(panel: Panel, left: int) -> Iterator[str]:
    scale = (PANEL - 56) / FULL
    bottom = TOP + ROW * len(BARS)
    yield _text(left, 24, panel.title, 'font-size="14" font-weight="bold"')
    yield _text(left, 42, panel.subtitle, 'fill="#57606a"')
    for tick in (0, 0.2, 0.4, 0.6):
        x = left + tick * scale
        yield f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="#d0d7de"/>'
        yield _text(x, bottom + 16, f"{tick:g}", 'text-anchor="middle" fill="#57606a"')
    yield _text(left + 0.3 * scale, bottom + 30, "mAP", 'text-anchor="middle" fill="#57606a"')
    for row, (name, (_, color)) in enumerate(BARS.items()):
        score = panel.scores[name]
        y, end = _middle(row), score.value
        yield f'<rect x="{left}" y="{y - BAR / 2:g}" width="{end * scale:.1f}" height="{BAR}" fill="{color}"/>'
        if isfinite(score.low):
            low, high = (left + value * scale for value in (score.low, score.high))
            path = f"M{low:.1f} {y - 5}v10m0-5H{high:.1f}m0-5v10"
            yield f'<path d="{path}" stroke="#24292f" stroke-width="1.5" fill="none"/>'
            end = score.high
        yield _text(left + end * scale + 6, y + 4, f"{score.value:.3f}", 'font-weight="bold"')


def _middle(row: int) -> int:
    return TOP + ROW * row + ROW // 2


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:g}" {style}>{escape(text)}</text>'
