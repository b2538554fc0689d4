"""The first sentences of the page: what was found, how good it is and at what cost."""

from detnas.config.recipe import RANDOM
from detnas.report.collect import CollectedRun, Network
from detnas.report.finals import name_of
from detnas.spaces.published import PUBLISHED, RESNETS

UNKNOWN = "-"

DESCRIPTIONS = {
    "winner": "found by the search",
    "incumbent": "the best that one would take without a search",
    "shuffle3": "every block shuffle3",
    **dict.fromkeys(RANDOM, "drawn at random within the budget"),
    **{name: network.source for name, network in PUBLISHED.items()},
    **RESNETS,
}


def least_difference(images: int | None) -> float:
    """The difference in mAP, in points, below which the answer does not call one network better than another.

    A rule of thumb, since one run cannot measure its own spread: trainings that differ only in the seed easily differ
    by a point, and with few validation images the error grows as the inverse square root of their number.
    """
    return max(1.0, 40 / images**0.5) if images else 1.0


def points(score: float | None) -> str:
    """A score between 0 and 1 as papers print it: times 100, one decimal."""
    return UNKNOWN if score is None else f"{100 * score:.1f}"


def count(number: float | None) -> str:
    """A number of MACs or parameters, rounded: 302 M, 5.31 M, 84 k."""
    if number is None:
        return UNKNOWN
    rounded = float(f"{number:.3g}")
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if rounded >= size:
            return f"{rounded / size:.4g} {unit}"
    return f"{rounded:g}"


def milliseconds(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:.3g} ms"


def answer(run: CollectedRun) -> str:
    """One or two sentences: which backbone, how good against the baselines, at what cost."""
    winner = run.winner
    if winner.map is None:
        return _answer_without_score(run)
    images = f"the {winner.images:,} validation images" if winner.images else "the validation images"
    if run.finals and run.finals.is_won_by_incumbent:
        name = name_of(run.finals.winner, run.recipe.search_space())
        return (
            f"Nothing better than {name} was found within this budget, and that is what is handed over. On {images} "
            f"its detector scores {points(winner.map)} mAP, at {count(winner.macs)} MACs."
        )
    scored = [(network.map, network) for network in run.baselines if network.map is not None]
    scored.sort(key=lambda pair: pair[0], reverse=True)
    # A network beyond the budget shows what more computation buys, not whether the search was worth it.
    within = [pair for pair in scored if not _exceeds_budget(pair[1], run)]
    beyond = [pair for pair in scored if _exceeds_budget(pair[1], run)]
    if not scored:
        return (
            f"The detector with the searched backbone scores {points(winner.map)} mAP on {images}, "
            f"at {count(winner.macs)} MACs. No baseline has been evaluated, so this run cannot say "
            "whether the search was worth it."
        )
    best_map, rival = (within or beyond)[0]
    lead = round(100 * (winner.map - best_map), 1)
    where = " within the budget" if within and beyond else ""
    difference = f"{abs(lead):.1f} points {'above' if lead > 0 else 'below'}" if lead else "the same as"
    standing = f"{difference} the best baseline{where} ({describe(rival)}, {points(best_map)})"
    if abs(lead) < least_difference(winner.images):
        verdict = "That is too close to call from one run."
    elif lead > 0:
        verdict = "In this run the search found the better backbone"
        verdict += ", which is also the more expensive one." if _extra_cost(winner, rival) > 0 else "."
    elif within:
        verdict = "In this run the search was not worth it: the baseline is better."
    else:
        verdict = "In this run the baseline is better, at a cost beyond the budget."
    if within and beyond:
        best_map, best = beyond[0]
        verdict += f" Beyond the budget, {best.name} scores {points(best_map)} at {count(best.macs)} MACs."
    return (
        f"On {images} the detector with the searched backbone scores {points(winner.map)} mAP, {standing}, "
        f"at {_cost(winner, rival)}. {verdict}"
    )


def caveat(run: CollectedRun) -> str:
    """What one run cannot say."""
    text = (
        f"This is one run with one seed ({run.recipe.seed}). The same network trained again with another seed scores "
        "differently, and a difference smaller than that spread between seeds means nothing. One run cannot measure "
        "the spread: repeat it with a few seeds before you rely on the result."
    )
    images = run.winner.images
    if images and images < 1000:
        text += f" And {images:,} validation images are few: other images would change these scores."
    return text


def describe(network: Network) -> str:
    """A network's name with what it is, where that is known."""
    description = DESCRIPTIONS.get(network.name)
    return f"{network.name}, {description}" if description else network.name


def _exceeds_budget(network: Network, run: CollectedRun) -> bool:
    budget = run.recipe.budget
    costs = (network.macs, network.params, network.latency_ms)
    bounds = zip(costs, (budget.macs_max, budget.params_max, budget.latency_max), strict=True)
    return any(cost is not None and bound is not None and cost > bound for cost, bound in bounds)


def _answer_without_score(run: CollectedRun) -> str:
    if run.best is None:
        if not run.candidates:
            return "No answer yet: the search has not started."
        leader = max(run.candidates, key=lambda candidate: candidate.fitness)
        stage = "the finals are not over" if run.is_searched else "the search is in progress"
        return (
            f"No answer yet: {stage}. The best of {len(run.candidates):,} candidates so far is "
            f"{leader.architecture}, {points(leader.fitness)} {run.recipe.search.score_name} on the search split "
            f"at {count(leader.macs)} MACs."
        )
    if run.winner.is_evaluated:
        return "The winner has been evaluated, but it has no mAP: the validation set holds no objects."
    return (
        f"The search chose {run.best.architecture}: {points(run.best.fitness)} {run.recipe.search.score_name} on the "
        f"search split with weights of the supernet, at {count(run.best.macs)} MACs. How good it is on the validation "
        "set is not known until it is trained and evaluated."
    )


def _extra_cost(winner: Network, rival: Network) -> int:
    """By how many percent the winner's MACs exceed the rival's."""
    return round(100 * (winner.macs / rival.macs - 1)) if winner.macs and rival.macs else 0


def _cost(winner: Network, rival: Network) -> str:
    percent = _extra_cost(winner, rival)
    comparison = f"{abs(percent)}% {'more' if percent > 0 else 'fewer'} than" if percent else "as many as"
    return f"{count(winner.macs)} MACs, {comparison} the baseline"
