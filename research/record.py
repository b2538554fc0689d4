"""Keep a finished run's results: python -m research record RUN... writes research/results/NAME.json for each.

The results table of the README is then written again from all of these files.
"""

import sys
from pathlib import Path

import yaml

from benchmarks.machine import machine
from detnas.utils.files import read_json, read_json_lines, write_json, write_text
from detnas.utils.progress import format_duration

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "research" / "results"
START, END = "<!-- results: research/pages.py -->\n", "<!-- end of results -->"
STAGES = ("supernet-pretrain", "supernet-finetune", "search", "pretrain", "finetune")


def record(run: Path) -> None:
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    networks = ["winner", *recipe["baselines"]]
    evaluations = [read_json(run / "finetune" / network / "evaluation.json") for network in networks]
    seconds = {stage: sum(read_json(done)["seconds"] for done in run.glob(f"{stage}/**/done.json")) for stage in STAGES}
    candidates = read_json_lines(run / "search" / "candidates.jsonl")
    write_json(
        RESULTS / f"{recipe['name']}.json",
        {
            "recipe": recipe["name"],
            "detector": recipe["detector"]["type"],
            "data": Path(recipe["data_directory"]).name if recipe["data"]["shapes"] is None else "shapes (embedded)",
            "machine": machine(),
            "seconds": seconds,
            "candidates": len(candidates),
            "fitness": sorted(round(row["fitness"], 4) for row in candidates if row["fitness"] is not None),
            "networks": evaluations,
        },
    )


def table() -> str:
    lines = [
        "| recipe, data | network | architecture | MACs at 224 | params | mAP | AP50 | the whole run took |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        result = read_json(path)
        if "data" not in result:  # another bench's
            continue
        for place, row in enumerate(result["networks"]):
            first = place == 0
            cells = [
                f"`{result['recipe']}`, {result['data']}" if first else "",
                row["network"],
                f"`{row['architecture']}`" if row["architecture"] else "-",  # a ResNet has none
                f"{row['macs'] / 1e6:.1f}M",
                f"{row['params'] / 1e6:.2f}M",
                f"{row['scores']['mAP']:.3f}",
                f"{row['scores']['AP50']:.3f}",
                f"{format_duration(sum(result['seconds'].values()))} ({result['machine']['cores']} cores)"
                if first
                else "",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    for run in sys.argv[1:]:
        record(Path(run))
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(START)
    write_text(readme, before + START + table() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
