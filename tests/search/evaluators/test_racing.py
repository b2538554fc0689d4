"""Racing: which pictures come first, who is dropped, and that a search with it ends the same however it is cut."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_study import GAINS, SAMPLER, SETTINGS, SPACE, Cut, CutBetween, best, rows, run_search

from detnas.distributed import comm
from detnas.search.evaluators.racing import COUNT, GoesOn, Race, Rounds, Standing, always, is_hopeless
from detnas.search.samplers.evolution import EvolutionSampler
from detnas.spaces import OPS, Architecture, Budget, BudgetSampler

PICTURES = 60
BATCH = 4
SHARES = (0.15, 0.5)
CHANCE = 0.02
RACING = {"racing": SHARES, "evaluations": 20, "racing_chance": CHANCE}
DIFFICULTY = np.random.default_rng(0).random((PICTURES, 6, len(OPS)))


@settings(max_examples=100, deadline=None)
@given(
    size=st.integers(1, 60),
    batch=st.integers(1, 9),
    shares=st.sets(st.floats(0.01, 0.99), max_size=3),
    seed=st.integers(0, 9),
    count=st.integers(1, 3),
)
def test_rounds_hold_every_picture_once_in_the_batches_of_a_search_without_them(
    size: int, batch: int, shares: set[float], seed: int, count: int
) -> None:
    whole = [list(range(start, min(start + batch, size))) for start in range(0, size, batch)]
    own: list[list[list[int]]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comm, "count", lambda: count)
        for rank in range(count):
            patch.setattr(comm, "rank", lambda rank=rank: rank)
            rounds = Rounds(size, batch, sorted(shares), seed)
            own.append(rounds.own)
    assert len(rounds) <= len(shares) + 1 and rounds.judged(len(rounds)) == list(range(size))
    judged = [len(rounds.judged(done)) for done in range(1, len(rounds) + 1)]
    assert judged == sorted(set(judged))
    for done, of_round in enumerate(zip(*own, strict=True), start=1):
        assert sorted(chain(*of_round)) == sorted(set(rounds.judged(done)) - set(rounds.judged(done - 1)))
    for rank in range(count):
        mine = list(chain(*own[rank]))  # one round after the other: cut into batches, these are still those
        assert all(mine[start : start + batch] in whole for start in range(0, len(mine), batch))


def test_without_racing_there_is_one_round_in_order() -> None:
    rounds = Rounds(11, 4, (), seed=3)
    assert rounds.places == rounds.own == [list(range(11))]


def test_rounds_follow_the_shares_and_the_seed() -> None:
    rounds = Rounds(102, 5, (0.25, 0.5), seed=3)
    assert [len(rounds.judged(done)) for done in (1, 2, 3)] == [25, 50, 102]
    assert Rounds(102, 5, (0.25, 0.5), seed=3).places == rounds.places
    assert Rounds(102, 5, (0.25, 0.5), seed=4).places != rounds.places
    assert rounds.judged(1) != list(range(25))


def test_replicates_are_as_large_as_the_whole_and_hold_what_was_judged() -> None:
    rounds = Rounds(102, 5, (0.25, 0.5), seed=3)
    times = rounds.resamples(2)
    assert times.shape == (1 + COUNT, 50) and (times[0] == 1).all()
    assert (times[1:].sum(axis=1) == 102).all() and times.min() == 1
    assert np.array_equal(times, Rounds(102, 5, (0.25, 0.5), seed=3).resamples(2))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_replicates_spread_as_the_whole_does_around_the_part(share: float) -> None:
    rng = np.random.default_rng(1)
    spreads, distances = [], []
    for seed in range(200):
        scores = rng.normal(size=200)
        rounds = Rounds(200, 1, (share,), seed)
        times = rounds.resamples(1)
        means = times @ scores[rounds.judged(1)] / times.sum(axis=1)
        spreads.append(means[1:].std())
        distances.append(scores.mean() - means[0])
    assert np.mean(spreads) == pytest.approx(np.std(distances), rel=0.15)


@pytest.mark.parametrize("chance", [0.05, 0.2])
@pytest.mark.parametrize("share", [0.25, 0.75])
def test_a_candidate_as_good_as_its_rival_is_dropped_about_as_often_as_it_may(share: float, chance: float) -> None:
    """Right or wrong on each picture, two at a time, of which equally many are right on all pictures."""
    rng = np.random.default_rng(2)
    rounds = Rounds(400, 1, (share,), seed=5)
    times, judged = rounds.resamples(1), rounds.judged(1)
    dropped = 0
    for _ in range(1500):
        pair = np.zeros((2, 400))
        pair[:, :160] = 1
        pair[0, 160:200] = pair[1, 200:240] = 1
        shuffled = pair[:, rng.permutation(400)]
        mine, his = (rounds.standing(1, times @ one[judged] / times.sum(axis=1)) for one in shuffled)
        dropped += is_hopeless(mine, his.replicates, chance)
    assert dropped / 1500 == pytest.approx(chance, rel=0.5)


def standing(*replicates: float) -> Standing:
    return Standing(10, 20, 0.5, replicates)


def test_who_is_hopeless() -> None:
    assert is_hopeless(standing(*[0.1] * 20), [0.2] * 20, 0.05)
    assert not is_hopeless(standing(*[0.2] * 20), [0.2] * 20, 0.05)  # as good
    assert not is_hopeless(standing(*[0.1] * 19, 0.3), [0.2] * 20, 0.05)
    assert is_hopeless(standing(*[0.1] * 19, 0.3), [0.2] * 20, 0.06)
    unknown = [float("nan")] * 2
    assert not is_hopeless(standing(*unknown, *[0.1] * 18), [*unknown, *[0.2] * 18], 0.05)


def test_a_race_compares_round_by_round_and_not_without_a_rival() -> None:
    race = Race([[0.2], [0.0]], 0.05)
    assert not race.goes_on(standing(0.1)) and race.goes_on(standing(0.1))
    assert race.standings == [standing(0.1)] * 2
    assert Race(None, 0.05).goes_on(standing(0.1))


class Runner:
    """A fitness by picture, judged in rounds; may be cut in an evaluation (counted from 0)."""

    def __init__(self, shares: tuple[float, ...] = SHARES, cut_at: int | None = None) -> None:
        self.rounds = Rounds(PICTURES, BATCH, shares, seed=1)
        self.cut_at = cut_at
        self.judged: list[Architecture] = []

    def __call__(self, architecture: Architecture, goes_on: GoesOn = always) -> dict[str, float | None] | None:
        if len(self.judged) == self.cut_at:
            raise Cut
        self.judged.append(architecture)
        for done in range(1, len(self.rounds)):
            if not goes_on(self.standing(architecture, done)):
                return None
        fitness = self.by_picture(architecture).mean()
        return {"mAP": float(fitness), "AP50": float(fitness / 2)}

    def standing(self, architecture: Architecture, done: int) -> Standing:
        times = self.rounds.resamples(done)
        scores = self.by_picture(architecture)[self.rounds.judged(done)]
        return self.rounds.standing(done, times @ scores / times.sum(axis=1))

    @staticmethod
    def by_picture(architecture: Architecture) -> np.ndarray[Any, Any]:
        ops = list(architecture.ops)
        return np.asarray((GAINS[range(6), ops] > DIFFICULTY[:, range(6), ops]).mean(axis=1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    run_search(directory, Runner(), settings=RACING)
    return directory


def test_exactly_the_hopeless_are_dropped_at_once(whole: Path) -> None:
    """Beside the rule written down naively over the rows."""
    found, runner = rows(whole), Runner()
    for row in found:
        architecture = Architecture.parse(row["architecture"])
        earlier = [one for one in found if one["generation"] < row["generation"] and one["fitness"] is not None]
        expected = None
        if row["generation"] > 0:
            last = Architecture.parse(sorted(earlier, key=lambda one: -one["fitness"])[2]["architecture"])
            for done in (1, 2):
                mine, his = (runner.standing(one, done) for one in (architecture, last))
                if np.mean(np.array(mine.replicates) >= np.array(his.replicates)) < CHANCE:
                    expected = mine
                    break
        if expected is None:
            assert row["fitness"] == pytest.approx(runner.by_picture(architecture).mean())
            assert row["pictures"] == PICTURES and row["AP50"] is not None and "dropped_at" not in row
        else:
            assert row["fitness"] is None and row["AP50"] is None
            assert (row["pictures"], row["dropped_at"]) == (expected.pictures, expected.score)
    dropped = [row for row in found if row["fitness"] is None]
    assert {row["pictures"] for row in dropped} == {8, 32}  # or this compares less
    assert 4 < len(dropped) < 14


def test_what_a_search_with_racing_leaves(whole: Path) -> None:
    found = rows(whole)
    assert [row["number"] for row in found] == list(range(20))
    assert len({row["architecture"] for row in found}) == 20  # nobody is judged again
    judged = [row for row in found if row["fitness"] is not None]
    assert best(whole) == max(judged, key=lambda row: row["fitness"])
    done = json.loads((whole / "done.json").read_text())
    assert done["evaluations"] == 20 and done["pictures"] == sum(row["pictures"] for row in found)
    assert done["pictures"] + done["pictures_saved"] == 20 * PICTURES
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{whole / 'study.db'}")
    states = {trial.user_attrs["slot"]: trial for trial in study.trials}
    for row in found:
        trial = states[row["number"]]
        assert trial.state.name == ("PRUNED" if row["fitness"] is None else "COMPLETE")
        assert trial.intermediate_values == ({row["pictures"]: row["dropped_at"]} if row["fitness"] is None else {})


def test_who_was_dropped_is_no_parent(whole: Path, tmp_path: Path) -> None:
    """Though a partial score may be above every whole one: who scores 1 on a part and is dropped has no children."""

    class Bluffer(Runner):
        def __call__(self, architecture: Architecture, goes_on: GoesOn = always) -> dict[str, float | None] | None:
            if len(self.judged) >= 4 and "3" in str(architecture):
                self.judged.append(architecture)
                goes_on(Standing(16, PICTURES, 1.0, [0.0] * COUNT))
                return None
            return super().__call__(architecture, goes_on)

    run_search(tmp_path, Bluffer(), settings=RACING | {"mutants": 4, "crossovers": 0})
    found = rows(tmp_path)
    assert any(row["fitness"] is None for row in found[4:])
    assert best(tmp_path)["fitness"] < 1
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    parents = EvolutionSampler(SAMPLER, SETTINGS, seed=7).select_parent(study, generation=5)
    assert len(parents) == 3 and {trial.state.name for trial in parents} == {"COMPLETE"}


@pytest.mark.parametrize("cut_at", [4, 11, 19])
def test_a_search_cut_while_a_candidate_races_ends_the_same(cut_at: int, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        run_search(tmp_path, Runner(cut_at=cut_at), settings=RACING)
    second = run_search(tmp_path, Runner(), settings=RACING)
    assert rows(tmp_path) == rows(whole) and best(tmp_path) == best(whole)
    assert len(second.judged) == 20 - cut_at


def test_a_search_cut_between_two_candidates_ends_the_same(whole: Path, tmp_path: Path) -> None:
    for cut_at in (5, 11, 16):
        with pytest.raises(Cut):
            run_search(tmp_path, Runner(), progress=CutBetween(cut_at), settings=RACING)
    run_search(tmp_path, Runner(), settings=RACING)
    assert rows(tmp_path) == rows(whole) and best(tmp_path) == best(whole)


def test_three_workers_race_as_one_does(whole: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        runners = list(pool.map(lambda _: run_search(tmp_path, Runner(), settings=RACING), range(3)))
    assert rows(tmp_path) == rows(whole) and best(tmp_path) == best(whole)
    assert sum(len(runner.judged) for runner in runners) == 20


def test_pictures_too_few_for_rounds_are_judged_at_once(tmp_path: Path) -> None:
    run_search(tmp_path / "one", Runner(shares=(0.01,)), settings=RACING | {"racing": (0.01,)})
    run_search(tmp_path / "none", Runner(shares=()), settings={"evaluations": 20})
    assert rows(tmp_path / "one") == rows(tmp_path / "none")
    assert "pictures" not in json.loads((tmp_path / "one" / "done.json").read_text())


def test_a_space_that_ends_while_candidates_are_dropped(tmp_path: Path) -> None:
    costs = sorted(SPACE.cost(SPACE.architecture([n >> 2 * k & 3 for k in range(6)])).flops for n in range(4096))
    sampler = BudgetSampler(SPACE, Budget(flops=(0, costs[8])))
    judge = run_search(tmp_path, Runner(), sampler=sampler, settings=RACING | {"evaluations": 50})
    count = sum(cost <= costs[8] for cost in costs)
    assert len(judge.judged) == len(set(judge.judged)) == len(rows(tmp_path)) == count
