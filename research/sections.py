"""What docs/results.md and the README say of each file of results: paragraphs of Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Any

from detnas.utils.estimate import Estimate
from detnas.utils.progress import format_duration

LEAST_RATIO, LEAST_TAU = 1.5, 0.5
"""What was aimed at."""
PAPER_DAYS = 44
"""12 and 12 for the supernet's trainings, 20 for the search (table 4 of FNA)."""
TAU = "Kendall's tau"
DEVIATIONS = ("between architectures", "between seeds", "ratio")
Found = dict[str, Any]
Paragraphs = Iterator[str]


def table(heads: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(cells)} |" for cells in rows)]
    return "\n".join(lines)


def benchmark(found: Found) -> Paragraphs:
    networks = found["networks"]
    yield (
        f"{len(networks)} architectures, each trained standalone with {len(found['seeds'])} seeds (both trainings) by "
        f"`{found['recipe']}` with `{' '.join(found['changes'])}`. Each is in `research/results/architectures.json`. "
        "Beside those of one op throughout, each is drawn with a mix of ops of its own, evenly over the MACs. "
        "After so short a schedule the scores mostly show how fast an architecture learns, from the paper's "
        "initialization ([initialization](initialization.md))."
    )
    taus = ("of one seed with the other", "of a perfect ranking")
    rows = []
    for score, of in found["differences"].items():
        means = [fmean(one[score]) for one in networks]
        cells = [*_deviations(of), *(f"{of[f'{TAU} {tau}']:.2f}" for tau in taus)]
        rows.append([score, f"{min(means):.3f}, {max(means):.3f}", *cells])
    yield table(["score", "from, to", *DEVIATIONS, *(f"tau {tau}" for tau in taus)], rows)
    yield (
        "Standard deviations: between architectures of the means of their seeds. A perfect ranking would have the last "
        f"column's tau with these means, since seeds differ. {ratio(found)}"
    )
    yield (
        "Data and schedule were changed after looking at the first few networks, to raise the ratio: it is therefore "
        "no independent result. Earlier trials, by mAP, from `init: fan_in`, the recipe's default then, unless "
        "another is named (the options `data.shapes.noise` and `init=kaiming`, kernels with the variance of He et "
        "al., have been removed):"
    )
    trials = [
        [f"`{' '.join(trial['changes'])}`", str(trial["networks"]), *_deviations(trial["differences"]["mAP"])]
        for trial in found["earlier trials"]
    ]
    yield table(["changes to the recipe", "networks", *DEVIATIONS], trials)


def _deviations(differences: Found) -> list[str]:
    between, within, ratio = list(differences.values())[:3]
    return [f"{between:.4f}", f"{within:.4f}", f"{ratio:.2f}"]


def ratio(found: Found) -> str:
    """Whether the differences between architectures are as large beside those between seeds as was aimed at."""
    value = found["differences"]["mAP"]["ratio"]
    reached = "reaches" if value >= LEAST_RATIO else "misses"
    return (
        f"With {len(found['networks'])} networks the ratio for mAP {reached} the {LEAST_RATIO} that was aimed at: "
        f"{value:.2f}."
    )


def ranking(found: Found) -> Paragraphs:
    yield (
        f"Kendall's tau between the supernet's fitness and the mean mAP of {found['networks']} networks trained "
        "standalone: the mean over the supernets, its interval by bootstrap over the networks, and that of each "
        "supernet. Without recalibration a candidate has the statistics that the supernet gathered in its training. "
        "The last column is the difference of two taus on the same networks."
    )
    by: dict[str, dict[int, Found]] = {}
    for row in found["rows"]:
        by.setdefault(row["supernet"], {})[row["recalibration batches"]] = row
    counts = sorted({row["recalibration batches"] for row in found["rows"]})
    claimed = found["claim"]
    batches, supernet = claimed["recalibration batches"], claimed["supernet"]
    table_rows = []
    for kind, rows in by.items():
        cells = [_taus(rows[count]) if count in rows else "" for count in counts]
        gained = rows[batches].get(f"tau less that of {supernet}")
        table_rows.append([kind, *cells, str(Estimate(**gained)) if gained and kind != supernet else ""])
    alone = found["MACs alone"]
    table_rows.append([f"{alone['better']} MACs", str(Estimate(**alone[TAU])), *[""] * len(counts)])
    heads = ["supernet", *(f"{count} batches" for count in counts), f"{batches}, less {supernet}"]
    yield table(heads, table_rows)
    yield f"Supernets by `{found['recipe']}` with `{' '.join(found['changes'])}`, and"
    yield "\n".join(f"* {kind}: `{' '.join(changes)}`" for kind, changes in found["supernets"].items() if changes)
    yield claim(found)
    if ops := found["ops alone"]:
        taus = ", ".join(f"`{op}` {Estimate(**tau)}" for op, tau in ops[TAU].items())
        yield (
            "A rule that is known only once networks have been trained: by how many blocks of an op a network has, the "
            f"tau is, for {taus}. After a linear fit to these counts is subtracted from both, the chosen row's fitness "
            f"still ranks mAP: {Estimate(**ops['of the claim beyond them'])}."
        )


def _taus(row: Found) -> str:
    return f"{Estimate(**row[TAU])}: " + ", ".join(f"{tau:.2f}" for tau in row["of each seed"])


def claim(found: Found) -> str:
    """How the supernet ranks networks, by the row that was chosen before the rows were measured."""
    chosen = found["claim"]
    row = next((row for row in found["rows"] if chosen.items() <= row.items()), None)
    if row is None:
        return "The row that decides has not been measured yet."
    gained = row["tau less that of MACs"]
    reached = "reaches" if row[TAU]["value"] >= LEAST_TAU else "misses"
    count = len(row["of each seed"])
    above = "clearly above" if gained["low"] > 0 else "not clearly above"
    return (
        f"By the row chosen on the benchmark tried before, {row['supernet']} with {row['recalibration batches']} "
        f"batches (supernets: {count}), it {reached} the tau of {LEAST_TAU} that was aimed at: "
        f"{Estimate(**row[TAU])}; it is {above} the MACs alone (difference {Estimate(**gained)})."
    )


def comparison(found: Found) -> Paragraphs:
    yield (
        f"{_compared(found)} Changed after looking: a first round of one training a network, compared by pairs of "
        "three seeds, showed no difference, so trainings and analysis were changed; nor did retinanet's first three "
        "blocks then, so another was added."
    )
    yield from methods(found)


def wide_budget(found: Found) -> Paragraphs:
    yield (
        f"{_compared(found)} It is the budget of the benchmark above, in which the methods need not spend equal MACs. "
        "Supernets and seeds are others than the ranking's; six seeds were planned, and there was time for three. "
        "It was added after looking at the comparison at equal MACs, to find out whether the search or the narrowness "
        "of that budget is at fault."
    )
    yield from methods(found)
    by_method = [item for of in found["networks"].values() for item in of.items()]
    macs = [f"{method} {fmean(row['macs'] for row in rows) / 1e6:.1f}M" for method, rows in by_method]
    yield f"Mean MACs: {', '.join(macs)}."


def _compared(found: Found) -> str:
    return (
        f"mAP of what each method finds within `{' '.join(found['within'])}`, trained standalone. With each seed and "
        f"detector (a block) the mean of {found['repeats']} trainings counts: of the one network that was found, or of "
        "as many random ones. Intervals are by the residual of an analysis of variance by method and block, over the "
        "blocks that all methods have, not corrected for their number; they do not include what a block does to all "
        "methods alike."
    )


def methods(found: Found) -> Paragraphs:
    """A table for each detector."""
    for detector, of in found["estimates"].items():
        rows = []
        for method, figures in of["methods"].items():
            gained = figures.get("DetNAS less this")
            each = ", ".join(f"{value:.3f}" for value in figures["of each block"])
            rows.append([method, _finely(figures["mAP"]), each, _finely(gained), _holds(gained)])
        about = f"{_named(detector)}, blocks: {of['blocks']}"
        yield table([about, "mAP", "of each block", "DetNAS less this", "the paper's ordering"], rows)
        yield (
            f"Residual standard deviation: {of['residual standard deviation']:.3f}; of one network's trainings: "
            f"{of['standard deviation between trainings']:.3f}."
        )


def _named(detector: str) -> str:
    return "both detectors" if detector == "both" else detector


def _finely(of: Found | None) -> str:
    return f"{Estimate(**of):.3f}" if of else ""


def _holds(gained: Found | None) -> str:
    """Whether DetNAS is above, as the paper has it."""
    if gained is None:
        return ""
    return "holds" if gained["low"] > 0 else "does not hold: reversed" if gained["high"] < 0 else "no clear difference"


def orderings(found: Found) -> str:
    """Which of the paper's orderings hold."""
    said = []
    for detector, of in found["estimates"].items():
        by_verdict: dict[str, list[str]] = {}
        for method, figures in of["methods"].items():
            if method != "DetNAS":
                by_verdict.setdefault(_holds(figures["DetNAS less this"]), []).append(method)
        verdicts = "; ".join(f"{verdict} ({', '.join(others)})" for verdict, others in by_verdict.items())
        said.append(f"{_named(detector)}, blocks: {of['blocks']}: {verdicts}")
    return "DetNAS above the others as the paper has it? " + ". ".join(said) + "."


def surrogate(found: Found) -> Paragraphs:
    fitted = found["fitted to all"]
    yield (
        "The trainings of one network differ by more than a search gains, so that few winners, trained standalone, say "
        "little of it. Here a linear model of what each op adds at each block takes the place of training: it is "
        f"fitted to the mean mAP of the {fitted['networks']} RetinaNets on record ({fitted['trainings']} trainings). "
        "For networks that are left out, its predictions have with their mean mAP a tau of "
        f"{Estimate(**fitted[f'{TAU} of networks left out'])}, and with that of the {fitted['networks with FPN']} that "
        f"were trained with FPN {Estimate(**fitted[f'{TAU} with FPN'])}. Each search is that of another supernet; "
        "intervals include the model's uncertainty and the differences between searches, but not what networks have "
        "beyond the sum of their ops. Chance is the mean network of the budget. Added after looking at the comparisons "
        "above, which say so little; the further seeds were chosen before any of their results was known "
        f"(`python -m research surrogate`). {chance(found)}"
    )
    by_the_benchmark = found["fitted to the benchmark"]["above the mean network"]
    gains = [f"`{_within(found, name)}` {Estimate(**of['DetNAS']['mAP']):.3f}" for name, of in by_the_benchmark.items()]
    yield (
        "Networks that searches have found are among those. Fitted to the benchmark's networks only, which no search "
        f"has chosen: {', '.join(gains)}."
    )
    for name, by_method in fitted["above the mean network"].items():
        heads = [f"within `{_within(found, name)}`", "searches", "mAP above the mean network"]
        heads += ["of each search", "DetNAS less this", "the same of the highest fitness"]
        rows = []
        for method, of in by_method.items():
            less = of.get("DetNAS less this")
            higher = of.get("highest fitness of DetNAS less this")
            each = ", ".join(f"{gain:.3f}" for gain in of["of each"])
            cells = [method, str(of["searches"]), _finely(of["mAP"]), each]
            rows.append([*cells, _finely(less and less["mAP"]), f"{Estimate(**higher):.4f}" if higher else ""])
        yield table(heads, rows)


def _within(found: Found, name: str) -> str:
    return " ".join(found["within"][name])


def chance(found: Found) -> str:
    """Whether the searches beat random networks, by the surrogate."""
    said = []
    for name, by_method in found["fitted to all"]["above the mean network"].items():
        of = by_method["DetNAS"]
        verdict = "beats" if of["mAP"]["low"] > 0 else "is not shown to beat"
        gained = f"{Estimate(**of['mAP']):.3f} of mAP, searches: {of['searches']}"
        said.append(f"within `{_within(found, name)}` DetNAS {verdict} chance ({gained})")
    return f"By a surrogate of RetinaNets trained standalone: {'; '.join(said)}."


def equal_macs_ranking(found: Found) -> Paragraphs:
    yield (
        "The networks that the comparison trained standalone with a detector, evaluated on the whole search split by "
        "supernets of two seeds, fine-tuned for so many steps (`python -m research equal-macs-ranking`). Those of the "
        "comparison have 1,600, and found some of these networks."
    )
    by_row = (row.values() for row in found["rows"])
    rows = [[", ".join(map(str, of)) if isinstance(of, list) else str(of) for of in values] for values in by_row]
    yield table(list(found["rows"][0]), rows)


def demo_cost(found: Found) -> Paragraphs:
    cores = found["machine"]["cores"]
    yield (
        f"`{found['recipe']}`, all stages, on {cores} cores: {found['candidates']} candidates, "
        f"{len(found['networks'])} networks trained standalone (`python -m research record`)."
    )
    seconds = {**found["seconds"], "in all": sum(found["seconds"].values())}
    yield table(list(seconds), [map(format_duration, seconds.values())])


def search_cost(found: Found) -> Paragraphs:
    yield "DetNAS with the first seed by stage, the training of what it found last; one core, while the other was busy:"
    first = {detector: of["DetNAS"][0] for detector, of in found["networks"].items() if "DetNAS" in of}
    rows = [
        [detector, stage, format_duration(seconds)]
        for detector, row in first.items()
        for stage, seconds in (row["search seconds"] | row["seconds"]).items()
    ]
    yield table(["detector", "stage", "took"], rows)


def full_scale(found: Found) -> Paragraphs:
    yield (
        "The paper's searches at full size, projected from dry runs on synthetic images (`python -m "
        "benchmarks.dry_runs`): days of one thread of a CPU. No GPU could be had, so that their throughput on one has "
        f"not been measured. The paper's own search took {PAPER_DAYS} days of a GPU (1080 Ti)."
    )
    stages = ("supernet-pretrain", "supernet-finetune", "search")
    rows = []
    for recipe in (name for name in found if name.startswith("paper-coco-")):
        projected = {row["name"]: row["projected"] / 86_400 for row in found[recipe]["rows"]}
        days = [projected[stage] for stage in stages]
        rows.append([f"`{recipe}`", *(f"{value:.0f}" for value in (*days, sum(days)))])
    yield table(["recipe", *stages, "in all"], rows)
