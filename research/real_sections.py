"""What docs/results.md says of the experiments on real images: paragraphs of Markdown."""

from collections.abc import Iterator
from statistics import fmean

from detnas.utils.estimate import Estimate
from detnas.utils.progress import format_duration
from research.sections import TAU, Found, Paragraphs, table

ALL = "all"


def _difference(of: Found) -> str:
    """A way's difference from the first, if it has one."""
    found = (Estimate(**value) for key, value in of.items() if key.startswith("mAP less"))
    return "".join(f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})" for one in found)


def _by_way(found: Found) -> str:
    """A table of the ways by data set: mean mAP, trials, and the difference from the first way over all sets."""
    estimates = found["estimates"]
    sets = [name for name in estimates if name != ALL]
    rows = []
    for way, of in estimates[ALL].items():
        means = (f"{one['mAP']:.3f}" if (one := estimates[name].get(way)) else "-" for name in sets)
        rows.append([way, *means, str(of["trials"]), _difference(of)])
    first = next(iter(estimates[ALL]))
    return table(["", *(f"{name}, mAP" for name in sets), "trials", f"mAP less that of {first}, all"], rows)


def own_data(found: Found) -> Paragraphs:
    yield (
        "What `detnas run RECIPE --data DIR` hands over, on the validation sets of four real data sets (59 to 424 "
        "training images; `python -m research own-data`): means of whole runs, their number in parentheses. "
        "`own-data-scratch` has the space `tiny`, no ImageNet weights, and here twice the steps of the recipe, so that "
        "it has at least the time of `own-data-quick`. The settings of `own-data-quick` were chosen on trees and bccd."
    )
    ways = list(found["ways"])
    rows = []
    for data, of in found["estimates"].items():
        cells = [
            f"{one['mAP']:.3f}, {one['AP50']:.3f} ({one['trials']})" if (one := of.get(way)) else "-" for way in ways
        ]
        rows.append([data, *cells, _difference(of.get(ways[-1], {})) or "-"])
    yield table(["mAP, AP50", *ways, f"mAP of {ways[-1]} less that of {ways[0]}"], rows)
    trials = [trial for trial in found["trials"] if trial["way"] == ways[0]]
    baselines = [name for name in trials[0]["baselines"] if all(name in trial["baselines"] for trial in trials)]
    yield f"Beside the winner, in the same runs of `{ways[0]}`, by the same training:"
    yield table(["mAP", "winner", *baselines], _beside(trials, baselines))
    seconds: dict[str, list[float]] = {}
    for trial in found["trials"]:
        seconds.setdefault(trial["way"], []).append(trial["seconds"])
    longest = ", ".join(f"{way} {format_duration(max(times))}" for way, times in seconds.items())
    yield f"The longest run, on one thread beside other work, took until the winner was trained: {longest}."


def _beside(trials: list[Found], baselines: list[str]) -> Iterator[list[str]]:
    """By data set: the mean mAP of the winners, and of the baselines."""
    for data in dict.fromkeys(trial["data"] for trial in trials):
        scores = [
            [trial["mAP"], *(trial["baselines"][name] for name in baselines)]
            for trial in trials
            if trial["data"] == data
        ]
        yield [data, *(f"{fmean(of):.3f}" for of in zip(*scores, strict=True))]


def transfer(found: Found) -> Paragraphs:
    yield (
        "EfficientNet-Lite0 trained standalone in the ways of `python -m research transfer`: as the recipe does it, "
        "that is from the weights of the fine-tuned supernet, and with one thing changed. `From the seeds` is from "
        "the ImageNet weights themselves."
    )
    yield _by_way(found)


def detector_choices(found: Found) -> Paragraphs:
    yield (
        "EfficientNet-Lite0 in detectors of several resolutions and heads, each trained from the ImageNet weights "
        "themselves (`python -m research detector-choices`; MACs are those of the whole detector)."
    )
    yield _by_way(found)


def seeding(found: Found) -> Paragraphs:
    yield (
        "How far the maps of EfficientNet-Lite0 move when blocks are halved, by the measure that chooses their "
        "channels (`python -m research seeding`; relative to the maps' norm, before any training): the last map with "
        "one block halved, the mean over the blocks, and the four maps with all blocks halved."
    )
    rows = [
        [name, measure, f"{of['one block, mean']:.3f}", ", ".join(f"{value:.2f}" for value in of["all blocks"])]
        for name, by_measure in found["data sets"].items()
        for measure, of in by_measure.items()
    ]
    yield table(["images", "measure", "one block", "all blocks"], rows)


def mobile_ranking(found: Found) -> Paragraphs:
    yield (
        f"Architectures of the space `mobile`, spread over its MACs, trained standalone by `{found['recipe']}` with "
        "two seeds, and ranked by the fitness of the two supernets (`python -m research mobile-ranking`). Intervals "
        "are by bootstrap over the networks."
    )
    rows = [
        [
            name,
            str(len(of["networks"])),
            *(str(Estimate(**of[key])) for key in (TAU, "of MACs alone", "tau less that of MACs")),
        ]
        for name, of in found["data sets"].items()
    ]
    yield table(["images", "networks", TAU, "MACs alone", "difference"], rows)
