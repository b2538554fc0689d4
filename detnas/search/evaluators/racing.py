"""Racing: a candidate that will hardly become a parent is dropped before it has been judged on all pictures.

What it has scored so far is compared with what the last of the parents scored on the same pictures, by a paired
bootstrap: each replicate guesses both scores on all pictures, those not yet judged being drawn from those that were.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from detnas.config import SearchSettings
from detnas.distributed import comm
from detnas.search.study.trials import slot_of
from detnas.utils.seeds import seed_of

COUNT = 200
"""Of replicates."""
PICTURES = "pictures"
"""What Optuna's trials tell of a race: how many a candidate was judged on…"""
REPLICATES = "replicates"
"""…and those of one that was judged on all, after each round but the last."""


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands after a part of the pictures."""

    pictures: int
    """Judged so far…"""
    of: int
    """…of all."""
    score: float
    """On these; NaN where they hold no box."""
    replicates: Sequence[float]
    """Guesses of its score on all; NaN too."""


GoesOn = Callable[[Standing], bool]
"""Whether a candidate is judged on more pictures."""


def always(standing: Standing) -> bool:
    """Judge candidates on all pictures."""
    return True


class Rounds:
    """The rounds in which `size` pictures are judged: after round i about `shares[i]` of them, after the last one all.

    They are drawn by `seed` in whole batches, so that a picture is padded with the same ones as without rounds, and
    scores are equal to the bit. What does not fill a batch comes last.
    """

    def __init__(self, size: int, batch: int, shares: Sequence[float], seed: int) -> None:
        self.size = size
        self.seed = seed
        whole = size // batch
        order = np.random.default_rng(seed_of(seed, "racing", "order")).permutation(whole)
        ends = sorted({round(share * whole) for share in shares} - {0, whole})
        parts = [np.sort(part) for part in np.split(order, ends)]
        self.places = [(batch * part[:, None] + np.arange(batch)).ravel().tolist() for part in parts]
        """Of the pictures of each round, in order."""
        self.places[-1] += range(batch * whole, size)
        self.own = [[part[place] for place in comm.share(len(part), batch)] for part in self.places]
        """Those that this process judges."""

    def __len__(self) -> int:
        return len(self.places)

    def judged(self, done: int) -> list[int]:
        """The pictures of the first `done` rounds, in order."""
        return sorted(chain(*self.places[:done]))

    def resamples(self, done: int) -> NDArray[np.int64]:
        """How often each of these stands in data sets that may be the whole: (S, N).

        The first row is what was judged, each once; the others are the replicates, as large as the whole. Each is
        filled up by Pólya's urn: the next picture is like one of those already there. So they spread as the whole does
        around the part (Ghosh and Meeden, Bayesian Methods for Finite Population Sampling), and less the fewer pictures
        are left; a plain bootstrap would spread as if there were no end of them.
        """
        judged = len(self.judged(done))
        rng = np.random.default_rng(seed_of(self.seed, "racing", str(judged)))
        rest = rng.multinomial(self.size - judged, rng.dirichlet(np.ones(judged), COUNT))
        return 1 + np.vstack([np.zeros((1, judged), np.int64), rest])

    def standing(self, done: int, scores: NDArray[np.float64]) -> Standing:
        """That of the scores (S,) on the resamples."""
        first, *others = scores.round(6).tolist()
        return Standing(len(self.judged(done)), self.size, first, others)


class Race:
    """One candidate against a rival, of whom `replicates` are known round by round; None: it cannot be dropped."""

    def __init__(self, replicates: Sequence[Sequence[float]] | None, chance: float) -> None:
        self.rival = replicates
        self.chance = chance
        self.standings: list[Standing] = []
        """After each round so far but the last one."""
        self.dropped = False

    def goes_on(self, standing: Standing) -> bool:
        self.standings.append(standing)
        if self.rival is not None:
            self.dropped = is_hopeless(standing, self.rival[len(self.standings) - 1], self.chance)
        return not self.dropped

    def facts(self) -> dict[str, Any]:
        """What is kept with the candidate; nothing without racing."""
        if not self.standings:
            return {}
        last = self.standings[-1]
        if self.dropped:
            return {PICTURES: last.pictures}
        return {PICTURES: last.of, REPLICATES: [standing.replicates for standing in self.standings]}


def race_for(slot: int, trials: Iterable[FrozenTrial], settings: SearchSettings) -> Race:
    """That of the candidate in `slot`, against the last of the parents that the earlier generations leave.

    It cannot be dropped as long as there are fewer than `settings.parents`.
    """
    if not settings.racing:
        return Race(None, settings.racing_chance)
    first = slot - slot % settings.population
    earlier = [trial for trial in trials if trial.state == TrialState.COMPLETE and slot_of(trial) < first]
    ranked = sorted(earlier, key=lambda trial: (-(trial.value or 0.0), slot_of(trial)))
    if len(ranked) < settings.parents:
        return Race(None, settings.racing_chance)
    return Race(ranked[settings.parents - 1].user_attrs.get(REPLICATES), settings.racing_chance)


def of_the_race(trial: FrozenTrial) -> dict[str, Any]:
    """What a finished trial's row says of its race; nothing without racing."""
    if PICTURES not in trial.user_attrs:
        return {}
    dropped_at = {"dropped_at": trial.value} if trial.state == TrialState.PRUNED else {}
    return {"pictures": trial.user_attrs[PICTURES], **dropped_at}


def pictures_judged(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Of a search with racing: how many pictures candidates were judged on, and how many were not needed."""
    counts = [row["pictures"] for row in rows if "pictures" in row]
    if not counts:
        return {}
    return {"pictures": sum(counts), "pictures_saved": max(counts) * len(counts) - sum(counts)}


def is_hopeless(standing: Standing, rival: Sequence[float], chance: float) -> bool:
    """Whether the share of replicates in which the candidate is not worse than its rival is below `chance`.

    `rival` are the replicates of the other after the same pictures. A replicate without a box speaks for the candidate.
    """
    worse = np.array(standing.replicates) < np.array(rival)
    return bool(1 - worse.mean() < chance)
