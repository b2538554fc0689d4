"""What a sampler is: it proposes the architectures that a search evaluates."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from detnas.config import SearchSettings
from detnas.spaces import Architecture, BudgetSampler

TRIES = 100
"""Attempts at a new architecture within the budget, before a random one takes its place."""


class SpaceExhausted(Exception):
    """Every architecture within the budget has been proposed."""


class Proposal(NamedTuple):
    """An architecture to evaluate."""

    architecture: Architecture
    origin: str
    """How it was made: incumbent, random, mutation, crossover, linear or tpe."""


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """What is known of one evaluation of a search."""

    index: int
    """The evaluation index: its place in the sequence of the search's evaluations, from 0."""
    architecture: Architecture
    state: Literal["finished", "running", "failed"]
    values: tuple[float, ...] = ()
    """Of a finished evaluation: the fitness, and the cost that is the second objective if the search has one."""

    @property
    def fitness(self) -> float:
        return self.values[0]


History = Sequence[EvaluationRecord]
"""The evaluations of a search that have begun, by index; one that failed and is tried again has a record a try."""


class Sampler(ABC):
    """Proposes the architecture of each evaluation of a search: within the budget, and none for two evaluations.

    A proposal is a function of the seed and the history alone, so that it is the same whichever process asks for it.
    The first evaluations are of the `incumbents`, of which there are fewer than a generation has evaluations.
    """

    takes_second_objective: ClassVar[bool] = False
    """Whether it searches for the front of fitness and a cost."""

    def __init__(
        self,
        budget_sampler: BudgetSampler,
        settings: SearchSettings,
        seed: int,
        incumbents: Sequence[Architecture] = (),
    ) -> None:
        self.budget_sampler = budget_sampler
        self.space = budget_sampler.space
        self.settings = settings
        self.seed = seed
        self.incumbents = tuple(incumbents)

    @classmethod
    def check(cls, settings: SearchSettings) -> None:
        """Raise `ValueError` for settings with which it cannot search."""
        if cls.takes_second_objective and settings.second_objective is None:
            raise ValueError(
                f"sampler {settings.sampler} needs a second objective; let second_objective be macs, params or latency"
            )

    @property
    def generation_size(self) -> int:
        """Evaluations that may run at the same time: the history of an evaluation holds all earlier generations
        completely. A search without generations is a single one."""
        return self.settings.evaluations

    def propose(self, history: History, index: int) -> Proposal:
        """What evaluation `index` evaluates. Raises `SpaceExhausted` if nothing new is left within the budget."""
        if index < len(self.incumbents):
            return Proposal(self.incumbents[index], "incumbent")
        return self.propose_new(history, index)

    @abstractmethod
    def propose_new(self, history: History, index: int) -> Proposal:
        """What evaluation `index` evaluates after those of the incumbents, none of `seen`. Raises `SpaceExhausted` if
        nothing new is left within the budget."""

    def seen(self, records: Iterable[EvaluationRecord]) -> set[Architecture]:
        """The architectures of some evaluations, and the incumbents."""
        return {record.architecture for record in records}.union(self.incumbents)

    def merits(self, architectures: Sequence[Architecture], fitness: Sequence[float]) -> list[float]:
        """How good each of some evaluated architectures is; the search returns the best. By default, their fitness."""
        return list(fitness)
