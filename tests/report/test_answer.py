"""The sentences and numbers of the page."""

from dataclasses import replace

import pytest
from small_recipe import small_recipe

from detnas.report.answer import answer, caveat, count, points
from detnas.report.collect import CollectedRun, Network
from detnas.report.drawing import COLUMNS, draw
from detnas.rundir.layout import FORMAT, StoredRun
from detnas.spaces import search_space


def run_with(images: int = 5000, macs: int = 300_000_000, **scores: float | None) -> CollectedRun:
    networks = [
        Network(name, "0 0 0 0", macs if name == "winner" else 300_000_000, 1_000_000, images, {"mAP": score})
        for name, score in scores.items()
    ]
    recipe = small_recipe()
    stored = StoredRun(recipe={}, format=FORMAT, versions={}, data_directory="", data_fingerprint="")
    return CollectedRun(recipe, stored, "", networks)


def test_a_better_winner() -> None:
    text = answer(run_with(winner=0.35, random=0.31, shuffle3=0.33))
    assert "35.0 mAP, 2.0 points above the best baseline (shuffle3, every block shuffle3, 33.0)" in text
    assert "as many as the baseline" in text and text.endswith("found the better backbone.")


def test_a_better_but_dearer_winner() -> None:
    text = answer(run_with(macs=330_000_000, winner=0.35, random=0.31))
    assert "10% more than the baseline" in text and text.endswith("which is also the more expensive one.")


def test_a_better_baseline_is_said() -> None:
    text = answer(run_with(macs=270_000_000, winner=0.30, random=0.34))
    assert "4.0 points below the best baseline" in text and "was not worth it" in text and "10% fewer" in text


@pytest.mark.parametrize("baseline", [0.345, 0.35, 0.355])
def test_a_small_difference_is_no_result(baseline: float) -> None:
    assert "too close to call" in answer(run_with(winner=0.35, random=baseline))


def test_few_images_make_a_larger_difference_no_result() -> None:
    assert "too close to call" in answer(run_with(images=100, winner=0.35, random=0.32))
    assert "found the better" in answer(run_with(images=100, winner=0.35, random=0.30))


def beyond_the_budget(**scores: float) -> CollectedRun:
    """A run with a budget of 310M MACs, of which resnet50 takes more."""
    found = run_with(**scores)
    networks = [replace(one, macs=4_087_000_000) if one.name == "resnet50" else one for one in found.networks]
    return replace(found, recipe=small_recipe(budget__macs_max=310e6), networks=networks)


def test_a_network_beyond_the_budget_does_not_decide_about_the_search() -> None:
    text = answer(beyond_the_budget(winner=0.35, random=0.31, resnet50=0.42))
    assert "4.0 points above the best baseline within the budget (random" in text
    assert text.endswith("found the better backbone. Beyond the budget, resnet50 scores 42.0 at 4.09 G MACs.")
    alone = answer(beyond_the_budget(winner=0.35, resnet50=0.42))
    assert "7.0 points below the best baseline (resnet50" in alone and "was not worth it" not in alone
    assert alone.endswith("the baseline is better, at a cost beyond the budget.")


def test_a_network_with_too_many_parameters_is_beyond_the_budget() -> None:
    run = replace(run_with(winner=0.30, random=0.31, resnet50=0.40), recipe=small_recipe(budget__params_max=2e6))
    expensive = [replace(one, params=23_500_000) if one.name == "resnet50" else one for one in run.networks]
    assert "within the budget (random" in answer(replace(run, networks=expensive))
    assert "the best baseline (resnet50" in answer(run)


def test_no_baseline_no_claim() -> None:
    assert "cannot say whether the search was worth it" in answer(run_with(winner=0.35, random=None))


def test_the_caveat_names_seed_and_few_images() -> None:
    assert "one seed (3)" in caveat(run_with(winner=0.3)) and "few:" not in caveat(run_with(winner=0.3))
    assert "48 validation images are few" in caveat(run_with(images=48, winner=0.3))


def test_numbers_to_read() -> None:
    assert [count(number) for number in (302_123_000, 1_500, 12, 2.5e9, None)] == ["302 M", "1.5 k", "12", "2.5 G", "-"]
    assert count(999_900_000) == "1 G"
    assert [points(score) for score in (0.3646, None, 0.0)] == ["36.5", "-", "0.0"]


def test_a_long_stage_is_drawn_in_several_rows() -> None:
    drawing = draw("00000000 11111111 2222222222222222 33333333", search_space("large"))
    assert drawing is not None
    rows = [len({block.y for block in stage.blocks}) for stage in drawing.stages]
    assert rows == [1, 1, 1, 16 // COLUMNS, 1]
    assert "480 channels" in drawing.stages[3].note
    assert drawing.height >= max(block.y for block in drawing.stages[-1].blocks) + drawing.block_height


def test_what_is_no_architecture_of_the_space_is_not_drawn() -> None:
    assert draw("21 20 1310 12", search_space("tiny")) is not None
    for text in ("21 203 1310 12", "21 20 1310", "<b>"):
        assert draw(text, search_space("tiny")) is None
