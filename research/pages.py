"""Writes docs/results.md and the README's table of it from the files in research/results/: python -m research pages.

What has not been measured yet is said to be missing; no number is typed by hand.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from detnas.evaluation.metrics.correlation import Estimate
from detnas.utils.files import read_json, write_text
from detnas.utils.progress import format_duration

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "research" / "results"
BENCHMARKS = ROOT / "benchmarks" / "results"
PAGE = "docs/results.md"
START, END = "<!-- answers: research/pages.py -->\n", "<!-- end of answers -->"
LEAST_RATIO, LEAST_TAU = 1.5, 0.5
"""What was aimed at."""
PAPER_DAYS = 44
"""12 and 12 for the supernet's trainings, 20 for the search (table 4 of FNA)."""
SECONDS_A_DAY = 86_400
TAU = "Kendall's tau"
Found = dict[str, Any]
Lines = Iterator[str]

INTRODUCTION = """# Does it find better backbones?

Written by `python -m research pages` from the files in `research/results/`; nothing here is typed by hand. All of it
is small: the embedded data set, networks of the space `tiny`, minutes of training on a CPU. It says how the method
behaves at that scale, and nothing about COCO. Intervals are of 95 %."""


def benchmark(found: Found) -> Lines:
    networks = found["networks"]
    yield (
        f"{len(networks)} architectures, each trained standalone with {len(found['seeds'])} seeds (both trainings) by "
        f"`{found['recipe']}` with `{' '.join(found['changes'])}`. Each is in `research/results/architectures.json`. "
        "Beside those of one op throughout, each is drawn with a mix of ops of its own, evenly over the MACs. "
        "After so short a schedule it is mostly how fast an architecture learns that is told, from the paper's "
        "initialization ([initialization](initialization.md))."
    )
    yield ""
    taus = ("of one seed with the other", "of a perfect ranking")
    yield f"| score | from, to | between architectures | between seeds | ratio | tau {' | tau '.join(taus)} |"
    yield "|---" * 7 + "|"
    for score, told in found["told apart"].items():
        means = [sum(one[score]) / len(one[score]) for one in networks]
        cells = [_deviations(told), *(f"{told[f'{TAU} {of}']:.2f}" for of in taus)]
        yield f"| {score} | {min(means):.3f}, {max(means):.3f} | {' | '.join(cells)} |"
    yield ""
    yield (
        "Standard deviations: between architectures of the means of their seeds. A perfect ranking would have the last "
        f"column's tau with these means, since seeds differ. {_ratio(found)}"
    )
    yield ""
    yield (
        "Data and schedule were changed after looking at the first few networks, to raise the ratio: it is what was "
        "looked for, and no independent finding. What was tried before, by mAP, from `init: fan_in`, which the recipe "
        "had, where none is told (`data.shapes.noise` and `init=kaiming`, kernels with the variance of He et al., are "
        "options no more):"
    )
    yield ""
    yield "| changes to the recipe | networks | between architectures | between seeds | ratio |"
    yield "|---|---|---|---|---|"
    for trial in found["tried before"]:
        told = _deviations(trial["told apart"]["mAP"])
        yield f"| `{' '.join(trial['changes'])}` | {trial['networks']} | {told} |"


def _deviations(told: Found) -> str:
    between, within, ratio = list(told.values())[:3]
    return f"{between:.4f} | {within:.4f} | {ratio:.2f}"


def _ratio(found: Found) -> str:
    ratio = found["told apart"]["mAP"]["ratio"]
    reached = "reaches" if ratio >= LEAST_RATIO else "misses"
    return (
        f"With {len(found['networks'])} networks the ratio for mAP {reached} the {LEAST_RATIO} that was aimed at: "
        f"{ratio:.2f}."
    )


def ranking(found: Found) -> Lines:
    yield (
        f"Kendall's tau between the supernet's fitness and the mean mAP of {found['networks']} networks trained standalone: "
        "the mean over the supernets, its interval by bootstrap over the networks, and that of each supernet. Without "
        "recalibration a candidate has the statistics that the supernet gathered in its training. The last column is "
        "the difference of two taus on the same networks."
    )
    yield ""
    by: dict[str, dict[int, Found]] = {}
    for row in found["rows"]:
        by.setdefault(row["supernet"], {})[row["recalibration batches"]] = row
    counts = sorted({row["recalibration batches"] for row in found["rows"]})
    claim = found["claim"]
    heads = [*(f"{count} batches" for count in counts), f"{claim['recalibration batches']}, less {claim['supernet']}"]
    yield f"| supernet | {' | '.join(heads)} |"
    yield "|---" * (1 + len(heads)) + "|"
    for kind, rows in by.items():
        cells = [_taus(rows[count]) if count in rows else "" for count in counts]
        gained = rows[claim["recalibration batches"]].get(f"tau less that of {claim['supernet']}")
        yield f"| {kind} | {' | '.join(cells)} | {Estimate(**gained) if gained and kind != claim['supernet'] else ''} |"
    alone = found["MACs alone"]
    yield f"| {alone['better']} MACs | {Estimate(**alone[TAU])}{' |' * len(heads)}"
    yield ""
    yield f"Supernets by `{found['recipe']}` with `{' '.join(found['changes'])}`, and"
    yield ""
    yield from (f"* {kind}: `{' '.join(changes)}`" for kind, changes in found["supernets"].items() if changes)
    yield ""
    yield _claim(found)
    if ops := found["ops alone"]:
        taus = ", ".join(f"`{op}` {Estimate(**tau)}" for op, tau in ops[TAU].items())
        yield ""
        yield (
            "A rule that is known only once networks have been trained: by how many blocks of an op a network has, the "
            f"tau is, for {taus}. What a linear fit to these counts leaves of mAP is still ranked by what it leaves of "
            f"the chosen row's fitness: {Estimate(**ops['of the claim beyond them'])}."
        )


def _taus(row: Found) -> str:
    return f"{Estimate(**row[TAU])}: " + ", ".join(f"{tau:.2f}" for tau in row["of each seed"])


def _claim(found: Found) -> str:
    """What is said of the supernet: by the row that was chosen before these were measured."""
    claim = found["claim"]
    row = next((row for row in found["rows"] if claim.items() <= row.items()), None)
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


def comparison(found: Found) -> Lines:
    yield (
        f"{_compared(found)} Changed after looking: a first round of one training a network, judged by pairs of three "
        "seeds, told nothing apart, so trainings and analysis were changed; nor then did retinanet's first three "
        "blocks, so it was given more."
    )
    yield from ways(found)


def wide_budget(found: Found) -> Lines:
    yield (
        f"{_compared(found)} It is the budget of the benchmark above, in which the ways need not spend as many "
        "MACs as one another. Supernets and seeds are others than the ranking's; six were planned, and time "
        "ended it at three. It was added after looking at the comparison at equal MACs, to tell whether the search or "
        "the narrowness of that budget is at fault."
    )
    yield from ways(found)
    yield ""
    millions = {
        way: fmean(row["macs"] for row in rows) / 1e6 for by in found["networks"].values() for way, rows in by.items()
    }
    yield f"Mean MACs: {', '.join(f'{way} {value:.1f}M' for way, value in millions.items())}."


def _compared(found: Found) -> str:
    return (
        f"mAP of what each way finds within `{' '.join(found['within'])}`, trained standalone. With each seed and detector "
        f"(a block) the mean of {found['repeats']} trainings counts: of the one network that was found, or of as many "
        "random ones. Intervals are by the residual of an analysis of variance by way and block, over the blocks that "
        "all ways have, not corrected for their number; what a block does to all ways alike is in none."
    )


def ways(found: Found) -> Lines:
    """A table for each detector."""
    for detector, of in found["estimates"].items():
        yield ""
        heads = (f"{_named(detector)}, blocks: {of['blocks']}", "mAP", "of each block", "DetNAS less this")
        yield f"| {' | '.join(heads)} | the paper's ordering |"
        yield "|---|---|---|---|---|"
        for way, figures in of["ways"].items():
            gained = figures.get("DetNAS less this")
            each = ", ".join(f"{value:.3f}" for value in figures["of each block"])
            cells = [_finely(figures["mAP"]), each, _finely(gained) if gained else "", _holds(gained)]
            yield f"| {way} | {' | '.join(cells)} |"
        yield ""
        yield (
            f"Residual standard deviation: {of['residual standard deviation']:.3f}; of one network's trainings: "
            f"{of['standard deviation between trainings']:.3f}."
        )


def _named(detector: str) -> str:
    return "both detectors" if detector == "both" else detector


def _finely(of: Found, digits: int = 3) -> str:
    return "{value:.{0}f} ({low:.{0}f} to {high:.{0}f})".format(digits, **of)


def _holds(gained: Found | None) -> str:
    """Whether DetNAS is above, as the paper has it."""
    if gained is None:
        return ""
    return "holds" if gained["low"] > 0 else "does not hold: reversed" if gained["high"] < 0 else "not told apart"


def _orderings(found: Found) -> str:
    said = []
    for detector, of in found["estimates"].items():
        by_verdict: dict[str, list[str]] = {}
        for way, figures in of["ways"].items():
            if way != "DetNAS":
                by_verdict.setdefault(_holds(figures["DetNAS less this"]), []).append(way)
        verdicts = "; ".join(f"{verdict} ({', '.join(ways)})" for verdict, ways in by_verdict.items())
        said.append(f"{_named(detector)}, blocks: {of['blocks']}: {verdicts}")
    return "DetNAS above the others as the paper has it? " + ". ".join(said) + "."


def surrogate(found: Found) -> Lines:
    fitted = found["fitted to all"]
    yield (
        "The trainings of one network differ by more than a search gains, so that so few winners, trained standalone, tell "
        "little of it. Here a linear model of what each op adds at each block stands in for training them: fitted to "
        f"the mean mAP of the {fitted['networks']} RetinaNets on record ({fitted['trainings']} trainings). Of networks "
        "that are left out, what it expects has with their mean mAP a tau of "
        f"{Estimate(**fitted[f'{TAU} of networks left out'])}, and with that of the {fitted['networks with FPN']} that "
        f"were trained with FPN {Estimate(**fitted[f'{TAU} with FPN'])}. Each search is that of another supernet; "
        "intervals hold how little the model knows and how the searches differ, and nothing of what networks have "
        "beyond the sum of their ops. Chance is the mean network of the budget. Added after looking at the comparisons "
        "above, which tell so little; which seeds there would be more of was settled before any of these was known "
        f"(`python -m research surrogate`). {_chance(found)}"
    )
    yield ""
    alone = {
        name: ways["DetNAS"]["mAP"] for name, ways in found["fitted to the benchmark"]["above the mean network"].items()
    }
    yield (
        "Networks that searches have found are among those. Fitted to the benchmark's alone, which none has chosen: "
        f"{', '.join(f'`{_within(found, name)}` {_finely(gained)}' for name, gained in alone.items())}."
    )
    for name, ways in fitted["above the mean network"].items():
        yield ""
        heads = (f"within `{_within(found, name)}`", "searches", "mAP above the mean network")
        yield f"| {' | '.join(heads)} | of each search | DetNAS less this | the same of the highest fitness |"
        yield "|---|---|---|---|---|---|"
        for way, of in ways.items():
            less = of.get("DetNAS less this")
            higher = of.get("highest fitness of DetNAS less this")
            each = ", ".join(f"{gain:.3f}" for gain in of["of each"])
            cells = [way, str(of["searches"]), _finely(of["mAP"]), each]
            cells += [_finely(less["mAP"]) if less else "", _finely(higher, 4) if higher else ""]
            yield f"| {' | '.join(cells)} |"


def _within(found: Found, name: str) -> str:
    return " ".join(found["within"][name])


def _chance(found: Found) -> str:
    said = []
    for name, ways in found["fitted to all"]["above the mean network"].items():
        of = ways["DetNAS"]
        verdict = "beats" if of["mAP"]["low"] > 0 else "is not shown to beat"
        gained = f"{_finely(of['mAP'])} of mAP, searches: {of['searches']}"
        said.append(f"within `{_within(found, name)}` DetNAS {verdict} chance ({gained})")
    return f"By a surrogate of RetinaNets trained standalone: {'; '.join(said)}."


def equal_macs_ranking(found: Found) -> Lines:
    yield (
        "The networks that the comparison trained standalone with a detector, judged on the whole search split by "
        "supernets of two seeds, fine-tuned for so many steps (`python -m research equal-macs-ranking`). Those of the "
        "comparison have 1,600, and found some of these networks."
    )
    yield ""
    heads = list(found["rows"][0])
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in found["rows"]:
        yield f"| {' | '.join(', '.join(map(str, of)) if isinstance(of, list) else str(of) for of in row.values())} |"


def demo_cost(found: Found) -> Lines:
    cores = found["machine"]["cores"]
    yield (
        f"`{found['recipe']}`, all stages, on {cores} cores: {found['candidates']} candidates, "
        f"{len(found['networks'])} networks trained standalone (`python -m research record`)."
    )
    yield ""
    yield f"| {' | '.join(found['seconds'])} | in all |"
    yield "|---" * (1 + len(found["seconds"])) + "|"
    yield f"| {' | '.join(map(format_duration, found['seconds'].values()))} | {format_duration(sum(found['seconds'].values()))} |"


def search_cost(found: Found) -> Lines:
    yield "DetNAS with the first seed by stage, the training of what it found last; one core, the other at other work:"
    yield ""
    yield "| detector | stage | took |"
    yield "|---|---|---|"
    for detector, ways in found["networks"].items():
        if "DetNAS" in ways:
            first = ways["DetNAS"][0]
            for stage, seconds in (first["search seconds"] | first["seconds"]).items():
                yield f"| {detector} | {stage} | {format_duration(seconds)} |"


def full_scale(found: Found) -> Lines:
    yield (
        "The paper's searches at full size, projected from rehearsals on synthetic images (`python -m "
        "benchmarks.dry_runs`): days of one thread of a CPU. No GPU could be had, so that their throughput on one has "
        f"not been measured. The paper's own search took {PAPER_DAYS} days of a GPU (1080 Ti)."
    )
    yield ""
    yield "| recipe | supernet-pretrain | supernet-finetune | search | in all |"
    yield "|---|---|---|---|---|"
    for recipe in (name for name in found if name.startswith("paper-coco-")):
        projected = {row["name"]: row["projected"] / SECONDS_A_DAY for row in found[recipe]["rows"]}
        days = [projected[stage] for stage in ("supernet-pretrain", "supernet-finetune", "search")]
        yield f"| `{recipe}` | {' | '.join(f'{value:.0f}' for value in [*days, sum(days)])} |"


SECTIONS: tuple[tuple[str, str, str, Callable[[Found], Lines]], ...] = (
    ("What a benchmark here can tell", "architectures", "networks", benchmark),
    ("How well supernets rank", "ranking_quality", "rows", ranking),
    ("The paper's comparison at equal MACs", "comparison", "estimates", comparison),
    ("The same within the recipe's own budget", "wide_budget", "estimates", wide_budget),
    ("Does the search beat chance?", "surrogate", "winners", surrogate),
    ("What supernets can tell at equal MACs", "equal_macs_ranking", "rows", equal_macs_ranking),
    ("What the demo cost", "shapes-quick", "seconds", demo_cost),
    ("What the comparison's searches cost", "comparison", "networks", search_cost),
    ("What it would cost at full size", "dry_runs", "paper-coco-fpn-small", full_scale),
)
HEADLINES: tuple[tuple[str, str, str, Callable[[Found], Lines]], ...] = (
    ("Does the benchmark tell architectures apart?", "architectures", "networks", lambda found: iter([_ratio(found)])),
    ("Does the supernet rank them?", "ranking_quality", "rows", lambda found: iter([_claim(found)])),
    ("Does the search beat chance?", "surrogate", "winners", lambda found: iter([_chance(found)])),
    ("Is what it finds better?", "comparison", "estimates", lambda found: iter([_orderings(found)])),
)


def page(results: Path = RESULTS) -> str:
    """The text of docs/results.md."""
    parts = [f"## {title}\n\n" + "\n".join(_said(results, *of)) for title, *of in SECTIONS]
    return "\n\n".join([INTRODUCTION, *parts]) + "\n"


def table(results: Path = RESULTS) -> str:
    """The README's table."""
    rows = [f"| {title} | {' '.join(_said(results, *of))} |\n" for title, *of in HEADLINES]
    return "".join(["| question | measured here |\n|---|---|\n", *rows])


def _said(results: Path, name: str, key: str, say: Callable[[Found], Lines]) -> list[str]:
    """What there is to say on a file of results, or that the bench of its name has not written it."""
    file = (BENCHMARKS if name == "dry_runs" else results) / f"{name}.json"
    found = read_json(file) if file.exists() else {}
    command = name.replace("_", "-")
    return list(say(found)) if found.get(key) else [f"Not measured yet: `python -m research {command}`."]


def main() -> None:
    write_text(ROOT / PAGE, page())
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(START)
    write_text(readme, before + START + table() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
