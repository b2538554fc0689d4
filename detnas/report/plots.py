"""The plots, as plotly figures; the page sets the colors of text and grid by the reader's light or dark mode."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import accumulate
from statistics import fmean, median
from typing import Any

import plotly.graph_objects as go

from detnas.evaluation.metrics.pareto import pareto_front
from detnas.report.collect import Curve, Network, Training
from detnas.rundir.layout import WINNER, Candidate, Ranking
from detnas.spaces import Architecture, SearchSpace

HIGHLIGHT = "#d9622b"
NETWORK_COLORS = (HIGHLIGHT, "#4a7fb5", "#5f9150", "#8f6bb8", "#b08a2e", "#3f9a9a")
ORIGINS = {
    "incumbent": ("incumbent", "#c23b6b", "hexagram"),
    "random": ("drawn at random", "#8d8d8d", "circle-open"),
    "mutation": ("mutation", "#4a7fb5", "circle"),
    "crossover": ("crossover", "#3c9a78", "diamond"),
    "linear": ("linear model", "#b08a2e", "triangle-up"),
    "tpe": ("TPE", "#8f6bb8", "square"),
}
COSTS = {"macs": ("million MACs", 1e6), "params": ("million parameters", 1e6), "latency": ("milliseconds", 1)}
"""The axis of each cost, and its unit."""
SIZES = {"APs": "small", "APm": "medium", "APl": "large"}
"""COCO's sizes of objects: below 32 x 32 pixels, below 96 x 96, and larger."""
RIGHT_AXIS = {"overlaying": "y", "side": "right", "showgrid": False, "tickmode": "auto", "rangemode": "tozero"}
LEAST_HEIGHT, LINE_HEIGHT = 150, 22
MOST_POINTS = 800  # of a curve: more are not distinguishable, and a long training writes tens of thousands


def fitness_by_evaluation(candidates: Sequence[Candidate], best: Candidate | None, metric: str) -> go.Figure:
    """Every candidate in the order of evaluation, each generation's median and the best so far."""
    figure = _figure("evaluation", f"fitness ({metric} x 100)")
    _add_candidates(figure, candidates, [candidate.number for candidate in candidates])
    medians = _generation_medians(candidates)
    figure.add_scatter(
        x=[x for first, last, _ in medians for x in (first - 0.5, last + 0.5, None)],
        y=[y for _, _, middle in medians for y in (middle, middle, None)],
        mode="lines", name="median of a generation", hoverinfo="skip", line={"width": 2, "color": "#8d8d8d"},
    )  # fmt: skip
    figure.add_scatter(
        x=[candidate.number for candidate in candidates],
        y=list(accumulate((_percent(candidate.fitness) for candidate in candidates), max)),
        mode="lines", name="best so far", hoverinfo="skip", line={"width": 2, "color": HIGHLIGHT, "shape": "hv"},
    )  # fmt: skip
    _add_chosen(figure, candidates, best, lambda candidate: candidate.number)
    return figure


def fitness_against_cost(
    candidates: Sequence[Candidate], best: Candidate | None, metric: str, cost: str, bounds: Sequence[float] = ()
) -> go.Figure:
    """Fitness against a cost: every candidate, the Pareto front, and the bounds of the budget."""
    title, unit = COSTS[cost]
    figure = _figure(title, f"fitness ({metric} x 100)")
    _add_candidates(figure, candidates, [candidate.cost(cost) / unit for candidate in candidates])
    members = front(candidates, cost)
    figure.add_scatter(
        x=[round(candidate.cost(cost) / unit, 3) for candidate in members],
        y=[_percent(candidate.fitness) for candidate in members],
        mode="lines", name="Pareto front", hoverinfo="skip",
        line={"width": 1.5, "dash": "dot", "color": HIGHLIGHT, "shape": "hv"},
    )  # fmt: skip
    for bound in bounds:
        figure.add_vline(x=bound / unit, line={"width": 1, "dash": "dash", "color": "#8d8d8d"})
    _add_chosen(figure, candidates, best, lambda candidate: candidate.cost(cost) / unit)
    return figure


def ops_by_block(best: Sequence[Candidate], everyone: Sequence[Candidate], ops: Sequence[str]) -> go.Figure:
    """Which of `ops` the best candidates have at each block, in percent of them, and on hovering of all candidates."""
    figure = _figure("block: stage and number in it", "")
    figure.add_heatmap(
        x=block_names(best[0]), y=list(ops), z=percentages(best, len(ops)), customdata=percentages(everyone, len(ops)),
        hovertemplate="block %{x}, %{y}<br>%{z:.0f} % of the best, %{customdata:.0f} % of all<extra></extra>",
        texttemplate="%{z:.0f}",
        colorscale=[[0, "rgba(217,98,43,0)"], [1, "rgba(217,98,43,0.75)"]],
        zmin=0, zmax=100, xgap=2, ygap=2, showscale=False,
    )  # fmt: skip
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def block_names(candidate: Candidate) -> list[str]:
    """Stage and number in it of each block: 1.1, 1.2 and so on."""
    stages = [len(stage) for stage in Architecture.parse(candidate.architecture).stages]
    return [f"{stage}.{place}" for stage, blocks in enumerate(stages, start=1) for place in range(1, blocks + 1)]


def percentages(candidates: Sequence[Candidate], ops: int) -> list[list[float]]:
    """The percentage of candidates that have each op at each block, (ops, blocks)."""
    chosen = [Architecture.parse(candidate.architecture).ops for candidate in candidates]
    return [[100 * fmean(op == index for op in block) for block in zip(*chosen, strict=True)] for index in range(ops)]


def shares_of_resolutions(candidates: Sequence[Candidate], space: SearchSpace) -> dict[str, float]:
    """The percentage of candidates that have each resolution of the space."""
    sides = [Architecture.parse(candidate.architecture).resolution for candidate in candidates]
    return {str(side): 100 * fmean(one == side for one in sides) for side in space.resolutions}


def shares_of_head_ops(candidates: Sequence[Candidate], space: SearchSpace) -> dict[str, float]:
    """The percentage of all convolutions of the candidates' heads that are each op."""
    ops = [op for candidate in candidates for op in Architecture.parse(candidate.architecture).head_ops]
    return {name: 100 * fmean(op == index for op in ops) for index, name in enumerate(space.head.ops)}


def front(candidates: Sequence[Candidate], cost: str) -> list[Candidate]:
    """The Pareto front: candidates whose fitness no other reaches at the same cost or less, the cheapest first."""
    costs = [candidate.cost(cost) for candidate in candidates]
    return [candidates[place] for place in pareto_front(costs, [candidate.fitness for candidate in candidates])]


def standalone_against_fitness(ranking: Ranking, metric: str) -> go.Figure:
    """Each network's score after standalone training against its fitness by the supernet."""
    figure = _figure(f"fitness ({metric} x 100)", f"trained standalone ({ranking.metric} x 100)")
    figure.add_scatter(
        x=[_percent(network.fitness) for network in ranking.networks],
        y=[_percent(network.score) for network in ranking.networks],
        customdata=[
            f"<b>{escape(network.architecture)}</b><br>fitness {_percent(network.fitness):.2f}, "
            f"standalone {_percent(network.score):.2f}<br>{network.macs / 1e6:,.1f} M MACs"
            for network in ranking.networks
        ],
        hovertemplate="%{customdata}<extra></extra>", showlegend=False,
        mode="markers", name="networks", marker={"color": NETWORK_COLORS[1], "size": 8, "opacity": 0.85},
    )  # fmt: skip
    return figure


def by_size(networks: Sequence[Network]) -> go.Figure:
    """AP of each network on small, medium and large objects."""
    scores = [{name: network.scores.get(key) for key, name in SIZES.items()} for network in networks]
    return _dots(networks, scores, list(SIZES.values()))


def by_class(networks: Sequence[Network], classes: Sequence[str]) -> go.Figure:
    """AP of each network on each class, in the order of `classes`, the first on top."""
    return _dots(networks, [network.per_class for network in networks], classes)


def _dots(networks: Sequence[Network], scores: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> go.Figure:
    """A dot for each score of each network, in the network's color, on a line for each of `names`."""
    figure = _figure("AP x 100", "")
    for network, scored, color in zip(networks, scores, NETWORK_COLORS, strict=False):
        known = [(name, score) for name in names if (score := scored.get(name)) is not None]
        figure.add_scatter(
            x=[_percent(score) for _, score in known],
            y=[escape(name) for name, _ in known],
            mode="markers", name=escape(network.name), hovertemplate="%{y}: %{x:.1f}", opacity=0.85,
            marker={"color": color, "size": 9, "symbol": "star" if network.name == WINNER else "circle"},
        )  # fmt: skip
    shown = [escape(name) for name in names]
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=shown, tickmode="array", tickvals=shown,
        range=[len(shown) - 0.5, -0.5],
    )  # fmt: skip
    figure.update_layout(height=LEAST_HEIGHT + LINE_HEIGHT * len(shown))
    return figure


def losses(trainings: Sequence[Training]) -> go.Figure:
    """The loss of each training, its running mean bold; accuracy, where it was measured, on the right."""
    figure = _figure("step", "loss")
    for index, training in enumerate(trainings):
        color = NETWORK_COLORS[index % len(NETWORK_COLORS)]
        name = escape(training.network) or "supernet"
        if loss := training.curves.get("loss"):
            thin = _thinned(loss)
            options = {"opacity": 0.3, "showlegend": False, "hoverinfo": "skip"}
            _add_line(figure, thin, {"width": 1, "color": color}, legendgroup=name, **options)
            _add_line(figure, _mean(thin), {"width": 2, "color": color}, legendgroup=name, name=name)
        if not training.network:
            parts = [key for key in training.curves if key not in ("loss", "accuracy")]
            parts = parts if len(parts) > 1 else []  # the only one is the loss itself
            for key, part_color in zip(parts, NETWORK_COLORS[1:] * len(parts), strict=False):
                label = escape(key.removeprefix("loss_").replace("_", " "))
                _add_line(figure, _mean(_thinned(training.curves[key])), {"width": 1, "color": part_color}, name=label)
        if accuracy := training.curves.get("accuracy"):
            curve = _mean(_thinned(accuracy))
            percent = Curve(curve.steps, [100 * value for value in curve.values])
            line = {"width": 1.5, "dash": "dot", "color": color}
            _add_line(figure, percent, line, name=f"{name}, accuracy", yaxis="y2")
            figure.update_layout(yaxis2=_axis("accuracy (%)") | RIGHT_AXIS)
    return figure


def _figure(x: str, y: str) -> go.Figure:
    return go.Figure(
        layout={
            "template": "none",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 8, "r": 8, "t": 8, "b": 16},
            "hovermode": "closest",
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
            "xaxis": _axis(x),
            "yaxis": _axis(y),
        }
    )


def _axis(title: str) -> dict[str, Any]:
    return {"title": {"text": title, "font": {"size": 13}}, "automargin": True, "zeroline": False}


def _add_candidates(figure: go.Figure, candidates: Sequence[Candidate], x: Sequence[float]) -> None:
    for origin in dict.fromkeys([*ORIGINS, *(candidate.origin for candidate in candidates)]):
        label, color, symbol = ORIGINS.get(origin, (escape(origin), "#8f6bb8", "square"))
        mine = [(at, candidate) for at, candidate in zip(x, candidates, strict=True) if candidate.origin == origin]
        if mine:
            figure.add_scatter(
                x=[round(at, 3) for at, _ in mine],
                y=[_percent(candidate.fitness) for _, candidate in mine],
                customdata=[_hover(candidate) for _, candidate in mine],
                hovertemplate="%{customdata}<extra></extra>",
                mode="markers", name=label, marker={"color": color, "symbol": symbol, "size": 7, "opacity": 0.8},
            )  # fmt: skip


def _add_chosen(
    figure: go.Figure, candidates: Sequence[Candidate], best: Candidate | None, x_of: Callable[[Candidate], float]
) -> None:
    chosen = [candidate for candidate in candidates if best is not None and candidate.number == best.number]
    figure.add_scatter(
        x=[x_of(candidate) for candidate in chosen],
        y=[_percent(candidate.fitness) for candidate in chosen],
        customdata=[_hover(candidate) for candidate in chosen],
        hovertemplate="<b>the winner</b><br>%{customdata}<extra></extra>",
        mode="markers", name="the winner", marker={"color": HIGHLIGHT, "symbol": "star", "size": 15},
    )  # fmt: skip


def _hover(candidate: Candidate) -> str:
    # plotly reads hover texts as a little HTML, hence the escaping here, besides the page's own.
    return (
        f"<b>{escape(candidate.architecture)}</b><br>fitness {_percent(candidate.fitness):.2f}"
        f"<br>{candidate.macs / 1e6:,.1f} M MACs, {candidate.params / 1e6:,.2f} M parameters"
        f"<br>evaluation {candidate.number}, generation {candidate.generation}, {escape(candidate.origin)}"
    )


def _generation_medians(candidates: Sequence[Candidate]) -> list[tuple[int, int, float]]:
    """First number, last number and median fitness of each generation."""
    medians = []
    for generation in sorted({candidate.generation for candidate in candidates}):
        mine = [candidate for candidate in candidates if candidate.generation == generation]
        numbers = [candidate.number for candidate in mine]
        middle = median(_percent(candidate.fitness) for candidate in mine)
        medians.append((min(numbers), max(numbers), round(middle, 3)))
    return medians


def _add_line(figure: go.Figure, curve: Curve, line: Mapping[str, Any], **options: Any) -> None:
    rounded = [float(f"{value:.5g}") for value in curve.values]
    figure.add_scatter(x=curve.steps, y=rounded, mode="lines", line=line, **options)


def _thinned(curve: Curve) -> Curve:
    """At most MOST_POINTS points, each the mean of its neighbors, so that every row of the log counts."""
    size = -(-len(curve.steps) // MOST_POINTS)
    starts = range(0, len(curve.steps), max(size, 1))
    return Curve(
        [curve.steps[min(start + size, len(curve.steps)) - 1] for start in starts],
        [fmean(curve.values[start : start + size]) for start in starts],
    )


def _mean(curve: Curve) -> Curve:
    """The running mean over a twentieth of the curve, centered."""
    half = len(curve.values) // 40
    values = curve.values
    return Curve(curve.steps, [fmean(values[max(0, at - half) : at + half + 1]) for at in range(len(values))])


def _percent(fitness: float) -> float:
    return round(100 * fitness, 3)
