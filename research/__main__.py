"""`python -m research COMMAND`: the experiments, and what is made of their results."""

import sys
from collections.abc import Callable

import typer

from detnas.utils.errors import UserError
from research import (
    architectures,
    box_head_norms,
    comparison,
    detector_choices,
    equal_macs_ranking,
    mobile_ranking,
    own_data,
    pages,
    ranking_quality,
    record,
    samplers,
    seeding,
    surrogate,
    transfer,
)

COMMANDS: dict[str, Callable[..., None]] = {
    "architectures": architectures.main,
    "ranking-quality": ranking_quality.main,
    "comparison": comparison.main,
    "wide-budget": comparison.wide_budget,
    "surrogate": surrogate.main,
    "equal-macs-ranking": equal_macs_ranking.main,
    "samplers": samplers.main,
    "box-head-norms": box_head_norms.main,
    "seeding": seeding.main,
    "transfer": transfer.main,
    "own-data": own_data.main,
    "detector-choices": detector_choices.main,
    "mobile-ranking": mobile_ranking.main,
    "record": record.main,
    "pages": pages.main,
}

app = typer.Typer(
    help="Experiments on what the search is worth, and the pages made from them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def main() -> None:
    try:
        app(prog_name="python -m research")
    except UserError as error:
        print(f"research: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
