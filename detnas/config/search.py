"""How the search judges and chooses candidates."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from detnas.config.section import Section
from detnas.utils.import_string import IMPORT_STRING

STORAGE = re.compile(r"(postgresql\+psycopg|mysql\+pymysql)://[^\s{}]+")
PASSWORD = re.compile(r"://[^:/]*:[^@]+@|[?&]pass[^=]*=")


class SearchSettings(Section):
    """The search on the trained supernet."""

    sampler: Literal["evolution", "nsga2", "linear", "tpe", "random"] = "evolution"
    """What chooses the candidates. `evolution` is the paper's; `nsga2` searches for the front of fitness and a
    cost; `linear` by a model of what each op adds at each block, which names the winner too; `tpe` is Optuna's, and the
    same again with one process only; `random` draws uniformly within the budget."""
    second_objective: Literal["macs", "params", "latency"] | None = None
    """Of `nsga2`: the cost that is kept low while the fitness is kept high; `latency` by `budget.latencies`."""
    fitness: str = "detection"
    """What candidates are judged by, on the search split: `detection`, or the accuracy of `classification` with the
    supernet as it was pre-trained, which is then not fine-tuned on detection (the paper's ClsNAS). Or a function of
    yours, named as `package.module:function`, of the candidate's detector (see docs/extending.md); it is imported."""
    evaluations: PositiveInt = 1000
    """Architectures evaluated in all."""
    population: PositiveInt = 50
    """Architectures a generation of `evolution`, `nsga2` and `linear`, the first of which is random, as are as many of
    `tpe`."""
    num_parents: PositiveInt = 10
    """How many architectures children descend from: the best of all history, or what NSGA-II selects."""
    num_mutations: NonNegativeInt = 20
    """Children a generation by mutation."""
    mutation_probability: Annotated[float, Field(gt=0, le=1)] = 0.1
    """With which each op of a mutated architecture is drawn again."""
    num_crossovers: NonNegativeInt = 20
    """Children a generation that take each op from one of two parents; the rest of a generation is random."""
    recalibration_batches: PositiveInt = 20
    """Training batches over which a candidate's BN statistics are averaged."""
    recalibration_batch_size: PositiveInt = 8
    """Images in each."""
    metric: Literal["mAP", "AP50", "VOC07", "VOC"] = "mAP"
    """Of `detection`, the score that is the fitness: COCO's mAP or AP at IoU 0.5, or VOC's by 11 points or by area."""
    proposals: PositiveInt | None = None
    """Of the detector `fpn`: proposals an image that the box head looks at while candidates are judged; the detector's
    own number if not given. Nearly all the cost on a CPU lies here."""
    images: PositiveInt | None = None
    """Judge on this many images of the search split; all of them if not given."""
    batch_size: PositiveInt = 8
    """Images evaluated at a time."""
    storage: str | None = None
    """Where the study is kept that all workers of the search share: SQLite in the run directory if not given, for those
    of one machine; for several machines postgresql+psycopg://USER@HOST/DATABASE or mysql+pymysql://USER@HOST/DATABASE.
    A password does not belong here (see docs/search-workers.md)."""

    @field_validator("fitness")
    @classmethod
    def _check_fitness(cls, fitness: str) -> str:
        if fitness not in ("detection", "classification") and not IMPORT_STRING.fullmatch(fitness):
            raise ValueError(
                "choose detection or classification, or name a function of yours as package.module:function"
            )
        return fitness

    @model_validator(mode="after")
    def _check_storage(self) -> Self:
        # Of the whole section: a message about the field would show its value, and the password in it.
        if self.storage is not None and not STORAGE.fullmatch(self.storage):
            raise ValueError(
                "storage is not the address of a database; write postgresql+psycopg://USER@HOST/DATABASE or "
                "mysql+pymysql://USER@HOST/DATABASE"
            )
        if self.storage is not None and PASSWORD.search(self.storage):
            raise ValueError(
                "storage holds a password, which every copy of the recipe would show; leave it out, and give it by "
                "~/.pgpass or PGPASSWORD (PostgreSQL) or ?read_default_file=FILE (MySQL)"
            )
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.num_mutations + self.num_crossovers > self.population:
            raise ValueError(
                f"num_mutations {self.num_mutations} + num_crossovers {self.num_crossovers} exceed the population "
                f"{self.population}"
            )
        if self.proposals is not None and self.by_classification:
            raise ValueError(f"proposals {self.proposals}: judging by classification has no proposals; leave it out")
        if self.sampler == "nsga2" and self.second_objective is None:
            raise ValueError("sampler nsga2 needs a second objective; let second_objective be macs, params or latency")
        if self.sampler != "nsga2" and self.second_objective is not None:
            raise ValueError(
                f"second_objective {self.second_objective} is for sampler nsga2; choose that, not {self.sampler}"
            )
        if self.sampler == "nsga2" and self.num_parents == 1:
            raise ValueError("num_parents 1: sampler nsga2 needs 2 or more, the ends of a front")
        return self

    @property
    def score_name(self) -> str:
        """The name of the score that is a candidate's fitness."""
        if self.has_custom_fitness:
            return self.fitness
        return "accuracy" if self.by_classification else self.metric

    @property
    def by_classification(self) -> bool:
        """Whether candidates are judged by classification, of a supernet that has not learned detection."""
        return self.fitness == "classification"

    @property
    def has_custom_fitness(self) -> bool:
        """Whether candidates are judged by a function of the user's."""
        return ":" in self.fitness

    @property
    def generation_size(self) -> int:
        """Evaluations that are begun before all of them are done; a search without generations is a single one."""
        return self.population if self.sampler in ("evolution", "nsga2", "linear") else self.evaluations
