"""The generated parts of the documents."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from paths import ROOT

from detnas.utils.files import write_json
from research import chart, pages
from research.workspace import RESULTS


def test_the_generated_parts_are_what_the_files_say() -> None:
    """Written again by `python -m research pages`."""
    assert pages.results_page() == (ROOT / "docs/results.md").read_text()
    assert chart.draw(RESULTS) == (ROOT / pages.CHART).read_text()
    for page, parts in pages.parts().items():
        text = page.read_text()
        assert [name for name, part in parts.items() if pages.marked(name, part) not in text] == []


def test_results_are_read_by_their_intervals(tmp_path: Path) -> None:
    assert pages.answers(tmp_path).count("Not measured yet") == 4

    def method(**gained: float) -> dict[str, Any]:
        found: dict[str, Any] = {"mAP": {"value": 0.5, "low": 0.4, "high": 0.6}, "of each block": [0.5, 0.5]}
        return found | ({"DetNAS less this": {"value": 0.0, **gained}} if gained else {})

    gains = {"above": (0.01, 0.02), "level": (-0.01, 0.02), "below": (-0.02, -0.01)}
    methods = {"DetNAS": method(), **{name: method(low=low, high=high) for name, (low, high) in gains.items()}}
    deviations = ("residual standard deviation", "standard deviation between trainings")
    comparison = {
        "within": [],
        "repeats": 3,
        "estimates": {"fpn": {"blocks": 2, **dict.fromkeys(deviations, 0.01), "methods": methods}},
        "networks": {"fpn": {"DetNAS": [{"seconds": {"pretrain": 61.0}, "search seconds": {"search": 62.0}}]}},
    }
    write_json(tmp_path / "comparison.json", comparison)
    rows = [line for line in pages.results_page(tmp_path).splitlines() if line.startswith("| ")]
    verdicts = {line.split("|")[1].strip(): line.split("|")[5].strip() for line in rows if line.count("|") == 6}
    assert verdicts["above"] == "holds" and verdicts["level"] == "no clear difference"
    assert verdicts["below"] == "does not hold: reversed"
    tau = {"value": 0.4, "low": 0.2, "high": 0.6}
    claim = {"supernet": "uniform", "recalibration batches": 20}
    row = claim | {"Kendall's tau": tau, "of each seed": [0.3, 0.5]}
    for low, words in ((0.1, "misses the tau of 0.5"), (-0.1, "not clearly above")):
        ranking = {
            "recipe": "shapes-quick",
            "changes": [],
            "networks": 5,
            "supernets": {"uniform": []},
            "MACs alone": {"Kendall's tau": tau, "better": "fewer"},
            "ops alone": {"Kendall's tau": {"shuffle3": tau}, "of the claim beyond them": tau},
            "claim": claim,
            "rows": [row | {"tau less that of MACs": {"value": 0.2, "low": low, "high": 0.5}}],
        }
        write_json(tmp_path / "ranking_quality.json", ranking)
        assert words in pages.answers(tmp_path)
        page = pages.results_page(tmp_path)
        assert (
            "| uniform | 0.40 (0.20 to 0.60): 0.30, 0.50 |  |" in page and "for `shuffle3` 0.40 (0.20 to 0.60)." in page
        )


def test_the_chart_shows_every_network_of_every_comparison() -> None:
    tree = ElementTree.fromstring(chart.draw(RESULTS))
    texts = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}text")]
    panels = chart.panels(RESULTS)
    assert len(panels) == 3
    for panel in panels:
        assert panel.title in texts and panel.scores.keys() == chart.BARS.keys()
        assert {f"{score.value:.3f}" for score in panel.scores.values()} <= set(texts)
        assert all(0 < score.value < chart.FULL for score in panel.scores.values())
