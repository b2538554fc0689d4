"""How the search evaluates and chooses candidates."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from detnas.config.section import BatchSize, Quantity, Section
from detnas.config.storage import check_storage
from detnas.utils.errors import suggestion
from detnas.utils.import_string import IMPORT_STRING, load_table

Population = Annotated[int, Field(gt=0, le=10**5)]
Children = Annotated[int, Field(ge=0, le=10**5)]
CUSTOM = "package.module:function"
"""The key, in the table of evaluators, of the one for a function of the user's."""


def samplers() -> Mapping[str, Any]:
    """The table of samplers, subclasses of `detnas.search.samplers.base.Sampler` by name."""
    return load_table("detnas.search.samplers:SAMPLERS")


def find_evaluator(fitness: str) -> Any:
    """The `detnas.search.evaluators.base.EvaluatorSpec` of a `fitness`. Raises `ValueError` if there is none."""
    evaluators = load_table("detnas.search.evaluators:EVALUATORS")
    spec = evaluators.get(CUSTOM if IMPORT_STRING.fullmatch(fitness) else fitness)
    if spec is None:
        *named, custom = evaluators
        raise ValueError(f"choose {' or '.join(named)}, or name a function of yours as {custom}")
    return spec


def _check_fitness(fitness: str) -> str:
    find_evaluator(fitness)
    return fitness


class SearchSettings(Section):
    """The search on the trained supernet."""

    sampler: Annotated[str, Field(json_schema_extra=lambda schema: schema.update(enum=[*samplers()]))] = "evolution"
    """What chooses the candidates. `evolution` is the paper's; `nsga2` searches for the front of fitness and a
    cost; `linear` uses a model of what each op adds at each block, which names the winner too; `tpe` is Optuna's, and
    reproducible with one process only; `random` draws uniformly within the budget."""
    second_objective: Literal["macs", "params", "latency"] | None = None
    """The cost that `nsga2` minimizes while it maximizes the fitness; `latency` needs `budget.latencies`."""
    fitness: Annotated[str, AfterValidator(_check_fitness)] = "detection"
    """What is maximized, on the search split: the score `metric` of `detection`, or the accuracy of `classification`
    with the supernet as it was pre-trained, which is then not fine-tuned on detection (the paper's ClsNAS). Or a
    function of yours, named as `package.module:function`, of the candidate's detector (see docs/extending.md); it is
    imported."""
    evaluations: Quantity = 1000
    """Architectures evaluated in all."""
    population: Population = 50
    """Architectures in a generation of `evolution`, `nsga2` and `linear`. The first generation is random, and as many
    architectures of `tpe` are."""
    num_parents: Population = 10
    """Architectures that children descend from: the best of all history, or what NSGA-II selects."""
    num_mutations: Children = 20
    """Children in a generation by mutation."""
    mutation_probability: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The probability with which each op of a mutated architecture is drawn again."""
    num_crossovers: Children = 20
    """Children in a generation that take each op from one of two parents; the rest of a generation is random."""
    recalibration_batches: Annotated[int, Field(gt=0, le=10**4)] = 20
    """Training batches over which a candidate's BN statistics are averaged."""
    recalibration_batch_size: Annotated[int, Field(gt=0, le=2**12)] = 8
    """Images in each of these batches."""
    metric: Literal["mAP", "AP50", "VOC07", "VOC"] = "mAP"
    """The score of `detection` that is the fitness: COCO's mAP or AP at IoU 0.5, or VOC's by 11 points or by area."""
    proposals: Quantity | None = None
    """Proposals of the detector `fpn` in each image when candidates are evaluated; those of the detector if not given.
    On a CPU, nearly all the cost lies here."""
    images: Quantity | None = None
    """Images of the search split that candidates are evaluated on; all of them if not given."""
    batch_size: BatchSize = 8
    """Images in a batch of an evaluation."""
    storage: str | None = Field(default=None, repr=False)
    """The database of the study, which all workers of the search share: SQLite in the run directory if not given, for
    workers on one machine; for several machines postgresql+psycopg://USER@HOST/DATABASE or
    mysql+pymysql://USER@HOST/DATABASE. A password does not belong here (see docs/search-workers.md)."""

    @model_validator(mode="before")
    @classmethod
    def _check_storage(cls, values: Any) -> Any:
        # Before the fields are read, whatever the type of the value: a message about the field would show it, and the
        # password in it.
        if isinstance(values, dict) and values.get("storage") is not None:
            check_storage(values["storage"])
        return values

    @field_validator("sampler")
    @classmethod
    def _check_sampler(cls, sampler: str) -> str:
        if sampler not in samplers():
            raise ValueError(suggestion(sampler, [*samplers()]))
        return sampler

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.num_mutations + self.num_crossovers > self.population:
            raise ValueError(
                f"num_mutations {self.num_mutations} + num_crossovers {self.num_crossovers} exceed the population "
                f"{self.population}"
            )
        if self.proposals is not None and self.is_classification:
            raise ValueError(f"proposals {self.proposals}: classification has no proposals; leave it out")
        takers = [name for name, sampler in samplers().items() if sampler.takes_second_objective]
        if self.second_objective is not None and self.sampler not in takers:
            raise ValueError(
                f"second_objective {self.second_objective} is for sampler {' or '.join(takers)}; choose that, not "
                f"{self.sampler}"
            )
        samplers()[self.sampler].check(self)
        return self

    @property
    def evaluator(self) -> Any:
        """What the table of evaluators says of `fitness`, a `detnas.search.evaluators.base.EvaluatorSpec`."""
        return find_evaluator(self.fitness)

    @property
    def score_name(self) -> str:
        """The name of the score that is a candidate's fitness."""
        return str(self.evaluator.score.format(metric=self.metric, fitness=self.fitness))

    @property
    def is_classification(self) -> bool:
        """Whether candidates are evaluated with the supernet as it was pre-trained on classification."""
        return bool(self.evaluator.task == "classification")
