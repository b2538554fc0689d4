"""The report page: what it says, that it harms nobody, and that a browser draws it."""

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import run_directory as made

from detnas.report import Box, Example, write_report
from detnas.report.images import MOST_PREDICTIONS
from detnas.utils.errors import UserError

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)


class Elements(HTMLParser):
    """The tags of a page, and the texts of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)

    def plots(self) -> dict[str, Any]:
        return {attrs["data-plot"] or "": json.loads(text) for attrs, text in self.scripts if "data-plot" in attrs}


def page_of(run: Path, examples: list[Example] | None = None) -> str:
    return write_report(run, examples or ()).read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a reader reads: the page without scripts, styles and tags."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare))


def section(page: str, heading: str) -> str:
    return text_of(re.split(rf'aria-labelledby="h-{heading}">', page)[1].split("</section>")[0])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    made.write_run(folder / "whole")
    write_report(folder / "whole", made.write_examples(folder / "images"))
    return folder / "whole"


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_writes_one_file_and_returns_its_path(tmp_path: Path) -> None:
    made.write_recipe(tmp_path)
    assert write_report(tmp_path) == tmp_path / "report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml", "report.html"]


def test_torch_is_not_needed() -> None:
    code = "import detnas.report, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_answer_stands_first(page: str) -> None:
    text = text_of(page)
    assert text.index("scores 36.4 mAP, 1.9 points above the best baseline") < text.index("MACs")
    assert "one run with one seed (7)" in text


def test_the_table_has_every_networks_numbers(run: Path, page: str) -> None:
    result = section(page, "result")
    for network, score, ap50 in (("winner", "36.4", "56.4"), ("shuffle3", "33.7", "52.2"), ("random", "34.5", "53.5")):
        evaluation = json.loads((run / "finetune" / network / "evaluation.json").read_text())
        cost = rf"{evaluation['macs'] / 1e6:.3g} M {evaluation['params'] / 1e6:.3g} M {evaluation['architecture']}"
        assert re.search(rf"{network} [a-z0-9 ]+ {score} {ap50} {re.escape(cost)}", result)
    assert "APs" in result


def test_latencies_are_shown_where_the_run_had_a_table(tmp_path: Path, page: str) -> None:
    assert "Latency" not in page
    timed = page_of(
        made.write_run(
            tmp_path / "timed",
            budget={"of": "backbone", "aspect_ratio": 1, "latencies": "table.json", "latency_max": 29.0},
        )
    )
    assert timed.count(">Latency</th>") == 2
    evaluation = json.loads((tmp_path / "timed/finetune/winner/evaluation.json").read_text())
    assert f"M {evaluation['latency_ms']:.3g} ms {evaluation['architecture']}" in section(timed, "result")


@pytest.mark.parametrize(("cost", "axis"), [("macs", "million MACs"), ("latency", "milliseconds")])
def test_the_front_is_shown_against_the_cost_of_the_search(cost: str, axis: str, tmp_path: Path, page: str) -> None:
    assert "The Pareto front as a table" not in page
    budget = {"of": "backbone", "aspect_ratio": 1, "latencies": "table.json", "macs_min": 301e6, "latency_max": 34.0}
    run = made.write_run(tmp_path, search={"sampler": "nsga2", "second_objective": cost}, budget=budget)
    found = page_of(run)
    plot = Elements(found).plots()["plot-cost"]
    assert plot["layout"]["xaxis"]["title"]["text"] == axis
    (line,) = [trace for trace in plot["data"] if trace.get("name") == "Pareto front"]
    assert line["x"] == sorted(line["x"]) and line["y"] == sorted(line["y"])
    rows = [json.loads(text) for text in (run / "search" / "candidates.jsonl").read_text().splitlines()]
    costs = [row["macs"] / 1e6 if cost == "macs" else row["latency_ms"] for row in rows]
    assert min(line["x"]) == pytest.approx(min(costs), abs=1e-3)
    (bound,) = [shape["x0"] for shape in plot["layout"]["shapes"]]
    assert bound == (301 if cost == "macs" else 34)
    table = found.split("<summary>The Pareto front as a table")[1].split("</table>")[0]
    assert table.count('<td class="arch">') == len(line["x"])


def test_the_winner_is_drawn_block_by_block(run: Path, page: str) -> None:
    drawing = page.split('<figure class="winner">')[1].split("</svg>")[0]
    digits = json.loads((run / "search" / "best.json").read_text())["architecture"].replace(" ", "")
    names = ["shuffle3", "shuffle5", "shuffle7", "xception"]
    assert re.findall(r'<g class="(\w+)"', drawing) == ["stem", *(names[int(digit)] for digit in digits)]
    assert drawing.count('class="halves"') == 5
    assert "320 channels, 1/16" in drawing


def test_hovering_tells_every_candidates_architecture(run: Path, page: str) -> None:
    lines = (run / "search" / "candidates.jsonl").read_text().splitlines()
    wanted = {json.loads(line)["architecture"] for line in lines}
    plots = Elements(page).plots()
    for key in ("plot-fitness", "plot-cost"):
        hovers = [text for trace in plots[key]["data"] for text in trace.get("customdata", ())]
        assert {match[1] for text in hovers if (match := re.match(r"<b>([\d ]+)</b>", text))} == wanted


def test_the_ops_of_the_best_are_counted(tmp_path: Path) -> None:
    rows = made.add_search(made.write_run(tmp_path), candidates=200)
    best = sorted(rows, key=lambda row: row["fitness"], reverse=True)[:20]
    (field,) = Elements(page_of(tmp_path)).plots()["plot-ops"]["data"]
    digits = [row["architecture"].replace(" ", "") for row in best]
    for block in range(len(digits[0])):
        for op in range(4):
            assert field["z"][op][block] == 100 * sum(text[block] == str(op) for text in digits) / 20


def test_there_is_a_loss_plot_for_every_training_stage(page: str) -> None:
    plots = Elements(page).plots()
    stages = {"plot-supernet-pretrain", "plot-supernet-finetune", "plot-pretrain", "plot-finetune"}
    assert set(plots) == {"plot-fitness", "plot-cost", "plot-ops", "plot-sizes", "plot-classes"} | stages
    assert {trace.get("name") for trace in plots["plot-finetune"]["data"]} >= {"winner", "shuffle3", "random"}


def test_images_carry_boxes_and_words(page: str) -> None:
    tags = Elements(page).tags
    images = [attrs for tag, attrs in tags if tag == "img"]
    assert len(images) == 6
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in images)
    assert "Found: circle 0.94. Missed: square. Wrong: star 0.37, square 0.81." in (images[0]["alt"] or "")
    boxes = [attrs["class"] for tag, attrs in tags if tag == "rect"]
    counts = {kind: boxes.count(f"box {kind}") for kind in ("detected", "missed", "wrong", "right")}
    assert counts == {"detected": 7, "missed": 7, "wrong": 13, "right": 7}  # one of each is in the legend


def test_a_browser_has_nothing_to_fetch(page: str) -> None:
    for tag, attrs in Elements(page).tags:
        for name in ("src", "href", "srcset", "data", "poster", "action", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("data:", "#")), (tag, name)
    styles = "".join(re.findall(r"<style>.*?</style>", page, flags=re.DOTALL))
    assert "url(" not in styles and "@import" not in styles
    assert "default-src 'none'" in page


def test_plotly_is_there_once_and_the_file_is_small(run: Path, page: str) -> None:
    assert [len(text) > 1_000_000 for _, text in Elements(page).scripts].count(True) == 1
    assert len(re.findall(r"plotly\.js v\d", page)) == 1
    assert (run / "report.html").stat().st_size < 8_000_000


def test_many_large_images_and_long_logs_stay_below_the_limit(tmp_path: Path) -> None:
    made.write_recipe(tmp_path)
    made.add_training(tmp_path, "supernet-finetune", steps=300_000)
    made.add_search(tmp_path, candidates=1000)
    noise = made.write_noise(tmp_path / "noise.png", 1600)
    page = page_of(tmp_path, [Example(noise, 1600, 1600, [], [])] * 30)
    assert 5_500_000 < len(page.encode()) < 8_000_000
    assert re.search(r"\d+ more images did not fit", text_of(page))


def test_a_winner_that_is_not_the_fittest_is_named(tmp_path: Path, page: str) -> None:
    """As the sampler `linear` may choose it."""
    assert "by the model of the sampler" not in page
    rows = made.add_search(made.write_run(tmp_path))
    made.write_json(tmp_path / "search" / "best.json", min(rows, key=lambda row: row["fitness"]))
    number = min(rows, key=lambda row: row["fitness"])["number"]
    assert f"The winner is evaluation {number}, by the model of the sampler." in page_of(tmp_path)


def test_hostile_texts_are_escaped(tmp_path: Path) -> None:
    made.write_run(tmp_path, versions={HOSTILE: HOSTILE}, fingerprint=HOSTILE)
    made.add_evaluation(tmp_path, "winner", "0000 0000 00000000 0000", 0.3)
    evaluation_file = tmp_path / "finetune" / "winner" / "evaluation.json"
    evaluation = json.loads(evaluation_file.read_text())
    made.write_json(evaluation_file, evaluation | {"architecture": HOSTILE, "per_class": {HOSTILE: 0.5}})
    with (tmp_path / "search" / "candidates.jsonl").open("a") as file:
        line = {"number": 999, "generation": 9, "origin": HOSTILE, "architecture": HOSTILE, "macs": 3e8, "params": 1e6}
        file.write(json.dumps(line | {"fitness": 0.9, "metric": HOSTILE, "AP50": 0.9, "seconds": 1.0}) + "\n")
    clean = made.write_examples(tmp_path, 1)[0]
    box = Box(1, 1, 9, 9, HOSTILE, 0.5)
    page = page_of(tmp_path, [Example(clean.image, clean.width, clean.height, [box], [box])])
    elements = Elements(page)
    assert "alert(" in text_of(page)
    assert not [attrs for _, attrs in elements.tags if "onerror" in attrs]
    assert not [text for _, text in elements.scripts if text.startswith("alert")]
    plots = [elements.plots()[key] for key in ("plot-fitness", "plot-cost")]
    hovers = [hover for plot in plots for trace in plot["data"] for hover in trace.get("customdata", ())]
    assert hovers and not [hover for hover in hovers if "<script" in hover or "<img" in hover]


def test_a_recipe_with_a_password_is_refused_and_not_shown(tmp_path: Path) -> None:
    """The page is passed around."""
    made.write_recipe(tmp_path, search={"storage": "postgresql+psycopg://ada@db.lab/study"})
    assert "postgresql+psycopg://ada@db.lab/study" in page_of(tmp_path)
    stored = (tmp_path / "recipe.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(stored.replace("ada@", "ada:s3cret@"))
    with pytest.raises(UserError, match="storage holds a password") as refusal:
        page_of(tmp_path)
    assert "s3cret" not in str(refusal.value) and "s3cret" not in (tmp_path / "report.html").read_text()


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    made.write_recipe(tmp_path)
    page = page_of(tmp_path)
    assert "No answer yet" in text_of(page)
    for heading in ("result", "winner", "images", "search", "parts", "losses", "time"):
        assert "not run yet" in section(page, heading)
    assert "detnas run recipe.yaml" in section(page, "repeat")
    assert "Plotly" not in page


def test_a_run_without_pretraining_says_so(tmp_path: Path) -> None:
    made.write_recipe(tmp_path, pretraining={"source": "none"})
    assert section(page_of(tmp_path), "time").count("not part of this run") == 4


def test_a_search_under_way_and_torn_logs(tmp_path: Path) -> None:
    made.write_recipe(tmp_path)
    made.add_training(tmp_path, "supernet-finetune", done=False)
    made.add_search(tmp_path, candidates=33, done=False)
    for path in (tmp_path / "supernet-finetune" / "metrics.jsonl", tmp_path / "search" / "candidates.jsonl"):
        with path.open("a") as file:
            file.write(
                '{"step": 30, "loss": NaN}\n{"number": 7, "gen' if "metrics" in path.name else '{"number": 33, "ge'
            )
    page = page_of(tmp_path)
    assert "33 architectures evaluated in 2 generations so far" in section(page, "search")
    assert "in progress" in section(page, "time")
    assert "not run yet" in section(page, "winner")
    assert "plot-supernet-finetune" in Elements(page).plots()


def test_a_chosen_winner_before_its_training(tmp_path: Path) -> None:
    made.write_recipe(tmp_path)
    made.add_search(tmp_path)
    made.add_networks(tmp_path, shuffle3=0.4)
    page = page_of(tmp_path)
    best = json.loads((tmp_path / "search" / "best.json").read_text())["architecture"]
    assert f"The search chose {best}" in text_of(page)
    assert f"winner found by the search not run yet {best}" in re.sub(r"[\d.]+ M ", "", section(page, "result"))
    assert '<figure class="winner">' in page


def test_a_missing_image_and_too_many_predictions(tmp_path: Path) -> None:
    made.write_recipe(tmp_path)
    boxes = [Box(0, 0, 10, 10, f"thing{number}", number / 100) for number in range(MOST_PREDICTIONS + 5)]
    images = section(page_of(tmp_path, [Example(tmp_path / "gone.jpg", 100, 80, [], boxes)]), "images")
    assert "this image could not be read" in images
    assert "5 more detections with lower scores are not drawn" in images
    assert "thing24 0.24" not in images


SECTIONS = ["result", "winner", "search", "trust", "parts", "losses", "images", "time", "repeat"]


def test_the_evidence_has_an_order(page: str) -> None:
    assert re.findall(r'<h2 id="h-(\w+)"', page) == SECTIONS


def test_the_recalibration_is_explained(page: str) -> None:
    trust = section(page, "trust")
    assert "changes by up to 0.2 points, and the winner stays first of these 2, by a lead of 0.6" in trust
    assert re.search(r"0000 0000 00000000 0000 the winner 34\.1 33\.9 34\.0 1\.0 1000", trust)
    assert "20 batches of 8" in trust and "took 8.4 s" in trust and "detnas rank" in trust


def test_a_ranking_is_shown_where_there_is_one(tmp_path: Path, page: str) -> None:
    made.add_ranking(made.write_run(tmp_path))
    found = page_of(tmp_path)
    trust = section(found, "trust")
    assert "3 networks trained standalone" in trust and "by supernet 0.71 (95 % interval 0.50 to 0.88)" in trust
    assert "by MACs alone 0.20 (95 % interval - to -)" in trust and "was not measured" not in trust
    assert Elements(found).plots()["plot-ranking"]["data"][0]["y"] == [31, 33, 35]
    assert re.search(r"2222 0000 00000000 0000 300 M 30\.0 35\.0 1111", trust)  # the best alone comes first
    assert "detnas rank runs/again --n 3" in section(found, "repeat") and "detnas rank runs" not in page


def test_ap_is_drawn_by_size_and_class(page: str) -> None:
    plots = Elements(page).plots()
    sizes = next(one for one in plots["plot-sizes"]["data"] if one["name"] == "winner")
    assert dict(zip(sizes["y"], sizes["x"], strict=True)) == {"small": 18.2}
    dots = next(one for one in plots["plot-classes"]["data"] if one["name"] == "winner")
    assert dict(zip(dots["y"], dots["x"], strict=True)) == {"circle": 39.4, "square": 35.4}
    assert plots["plot-classes"]["layout"]["yaxis"]["categoryarray"] == ["circle", "square"]
    assert re.search(r"square 35\.4 32\.7 33\.5", section(page, "parts"))


@pytest.mark.parametrize(("data", "wanted"), [({}, True), ({"shapes": {"train": 9}}, False)])
def test_the_command_asks_for_data_where_the_recipe_brings_none(data: Any, wanted: bool, tmp_path: Path) -> None:
    made.write_recipe(tmp_path, data=data)
    assert ("--out runs/again --data DIR" in section(page_of(tmp_path), "repeat")) is wanted


def test_everything_that_scrolls_can_be_reached_by_keyboard(page: str) -> None:
    scrolling = [attrs for _, attrs in Elements(page).tags if attrs.get("class") == "scroll"]
    assert len(scrolling) > 5 and all(attrs.get("tabindex") == "0" for attrs in scrolling)
    assert all(attrs.get("aria-label") or attrs.get("aria-labelledby") for attrs in scrolling)
    ids = [attrs["id"] for _, attrs in Elements(page).tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for _, attrs in Elements(page).tags:
        assert {*(attrs.get("aria-labelledby") or "").split(), *(attrs.get("aria-describedby") or "").split()} <= {*ids}


LISTENING = """<script>
const troubles = [];
addEventListener("error", event => troubles.push(String(event.message || event.target)), true);
addEventListener("unhandledrejection", event => troubles.push(String(event.reason)));
addEventListener("securitypolicyviolation", event => troubles.push(event.violatedDirective + event.blockedURI));
console.error = console.warn = (...words) => troubles.push(words.join(" "));
const told = setInterval(() => {
  const plots = [...document.querySelectorAll(".plot")];
  const drawn = plots.filter(plot => plot.querySelector(".main-svg")).map(plot => plot.id);
  if (document.readyState !== "complete" || drawn.length < plots.length && performance.now() < 8000) return;
  clearInterval(told);
  setTimeout(() => parent.postMessage({ troubles, drawn, width: innerWidth,
    needed: document.documentElement.scrollWidth }, "*"), 500);
}, 100);
</script>"""
FRAME = """<iframe src="page.html" style="width: 390px; height: 844px; border: 0"></iframe><pre id="told"></pre>
<script>addEventListener("message", ({ data }) => { told.textContent = JSON.stringify(data); })</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_browser_draws_every_plot_on_a_phone_without_an_error(page: str, tmp_path: Path) -> None:
    """In a frame, for the windows of browsers are never so narrow."""
    assert CHROMIUM is not None
    (tmp_path / "page.html").write_text(page.replace("<head>", f"<head>{LISTENING}", 1), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME, encoding="utf-8")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=10000", "--dump-dom",
    ]  # fmt: skip
    seen = subprocess.run(
        [CHROMIUM, *options, (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    told = json.loads(html.unescape(seen.split('<pre id="told">')[1].split("</pre>")[0]))
    assert told["troubles"] == []
    assert set(told["drawn"]) == set(Elements(page).plots())
    assert told["width"] == 390 and told["needed"] <= 390
