"""Writes docs/results.md, the README's chart and sentences, and parts of other pages from the files of results.

No number is typed by hand. What has not been measured yet is said to be missing.
"""

from collections.abc import Callable
from pathlib import Path

from benchmarks import command
from benchmarks.supernets import CASES
from detnas.utils.files import read_json, write_text
from detnas.utils.progress import format_duration
from research import chart, real_sections, sections
from research.sections import Found, Paragraphs, table
from research.workspace import RESULTS

ROOT = command.ROOT
CHART = "docs/images/results.svg"
INTRODUCTION = """# Does it find better backbones?

Written by `python -m research pages` from the files in `research/results/`; nothing here is typed by hand. All of it
is small: a few hundred real images or the embedded data set, minutes of training on a CPU. It says how the method
behaves at that scale, and nothing about COCO. Intervals are of 95 %. Where nothing else is said, the data are the
embedded set, the space is `tiny`, and networks train from scratch.

"""
ABOUT_RUNS = """One run with one seed for each recipe: differences of a point or two mean nothing. mAP and AP50 are
those of a validation set that neither the search nor any training has seen. `shuffle3` is the network whose every block
is that op, which is ShuffleNetV2 in this space; `random` is drawn within the budget (`python -m research record`)."""
Section = tuple[str, str, str, Callable[[Found], Paragraphs | str]]
"""A title, the name of a file of results, the key without which it has not been measured, and what to say of it."""
SECTIONS: tuple[Section, ...] = (
    ("Real images, from ImageNet weights", "own_data", "trials", real_sections.own_data),
    ("How to train from ImageNet weights", "transfer", "trials", real_sections.transfer),
    ("What detectors of equal cost can be", "detector_choices", "trials", real_sections.detector_choices),
    ("How the supernet ranks networks on real images", "mobile_ranking", "data sets", real_sections.mobile_ranking),
    ("Which channels narrow blocks begin with", "seeding", "data sets", real_sections.seeding),
    ("How much architectures differ", "architectures", "networks", sections.benchmark),
    ("How well supernets rank", "ranking_quality", "rows", sections.ranking),
    ("The paper's comparison at equal MACs", "comparison", "estimates", sections.comparison),
    ("The same within the recipe's own budget", "wide_budget", "estimates", sections.wide_budget),
    ("Does the search beat chance?", "surrogate", "winners", sections.surrogate),
    ("How supernets rank at equal MACs", "equal_macs_ranking", "rows", sections.equal_macs_ranking),
    ("What the demo cost", "shapes-quick", "seconds", sections.demo_cost),
    ("What the comparison's searches cost", "comparison", "networks", sections.search_cost),
)
HEADLINES: tuple[Section, ...] = (
    ("Do architectures differ in the benchmark?", "architectures", "networks", sections.ratio),
    ("Does the supernet rank them?", "ranking_quality", "rows", sections.claim),
    ("Does the search beat chance?", "surrogate", "winners", sections.chance),
    ("Is what it finds better?", "comparison", "estimates", sections.orderings),
)
FULL_SCALE: Section = ("What it would cost at full size", "dry_runs", "paper-coco-fpn-small", sections.full_scale)


def results_page(results: Path = RESULTS) -> str:
    """The text of docs/results.md."""
    places = [(results, one) for one in SECTIONS] + [(command.RESULTS, FULL_SCALE)]
    said = [f"## {one[0]}\n\n" + "\n\n".join(_paragraphs(folder, one)) for folder, one in places]
    runs = f"## Recorded runs\n\n{recorded_runs(results)}\n{ABOUT_RUNS}"
    return INTRODUCTION + "\n\n".join([answers(results), *said, runs]) + "\n"


def answers(results: Path = RESULTS) -> str:
    """The table of questions and answers."""
    return table(["question", "measured here"], ([one[0], *_paragraphs(results, one)] for one in HEADLINES))


def _paragraphs(results: Path, section: Section) -> list[str]:
    """What there is to say on a file of results, or that it is not there."""
    _, name, key, say = section
    file = results / f"{name}.json"
    found = read_json(file) if file.exists() else {}
    if not found.get(key):
        return [f"Not measured yet: there is no `{name}.json`."]
    said = say(found)
    return [said] if isinstance(said, str) else list(said)


def recorded_runs(results: Path = RESULTS) -> str:
    """The table of recorded runs."""
    heads = ["recipe, data", "network", "architecture", "MACs at 224", "params", "mAP", "AP50", "the whole run took"]
    rows = []
    for result in map(read_json, sorted(results.glob("*.json"))):
        if "data" not in result:  # another experiment's
            continue
        recipe = f"`{result['recipe']}`, {result['data']}"
        took = f"{format_duration(sum(result['seconds'].values()))} ({result['machine']['cores']} cores)"
        for row in result["networks"]:
            architecture = f"`{row['architecture']}`" if row["architecture"] else "-"  # a ResNet has none
            sizes = [f"{row['macs'] / 1e6:.1f}M", f"{row['params'] / 1e6:.2f}M"]
            scores = [f"{row['scores'][name]:.3f}" for name in ("mAP", "AP50")]
            rows.append([recipe, row["network"], architecture, *sizes, *scores, took])
            recipe = took = ""  # said once
    return table(heads, rows) + "\n"


def fitness_tables(found: Found) -> str:
    """The tables of benchmarks/fitness.py, one for each detector."""
    return "\n".join(f"`{kind}`:\n\n{_fitness_table(found[kind])}" for kind in CASES)


def _fitness_table(found: Found) -> str:
    figures = ("seconds", "times cheaper", "saves of the row above", "mAP, less official")
    rows = []
    for row in found["rows"]:
        values = [f"{row['seconds']:.3g}", f"{row['times cheaper']:.3g}", f"{row['saves of the row above']:.0%}"]
        difference = f"{row['mean difference of mAP']:+.4f}" if "mAP" in row else ""
        rows.append([row["procedure"], *values, difference])
    noise = found["standard deviation between seeds"]
    return table(["a row has what those above have", *figures], rows) + (
        f"\n\nStandard deviation of the official mAP between recalibrations: {noise}. The candidates of the search "
        f"begin with {found['blocks in common with an earlier candidate']} blocks of an earlier one on average.\n"
    )


def marked(name: str, text: str) -> str:
    """A generated part of a page between its markers."""
    return f"<!-- {name}: python -m research pages -->\n{text}<!-- end of {name} -->"


def parts() -> dict[Path, dict[str, str]]:
    """All generated parts by page and name."""
    return {
        ROOT / "README.md": {"results": chart.summary(RESULTS, CHART)},
        ROOT / "docs" / "candidate-cost.md": {"tables": fitness_tables(read_json(command.RESULTS / "fitness.json"))},
    }


def main() -> None:
    """Write the generated parts of the documents."""
    write_text(ROOT / "docs" / "results.md", results_page())
    write_text(ROOT / CHART, chart.draw(RESULTS))
    for page, by_name in parts().items():
        text = page.read_text()
        for name, part in by_name.items():
            before, _, rest = text.partition(marked(name, "").partition("\n")[0])
            text = before + marked(name, part) + rest.partition(f"<!-- end of {name} -->")[2]
        write_text(page, text)
