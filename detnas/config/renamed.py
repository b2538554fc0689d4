"""Names of earlier versions, so that a recipe that still has one is answered with what to write instead."""

from detnas.config.search import SearchSettings
from detnas.config.section import Section
from detnas.config.space import BudgetSettings
from detnas.config.training import SupernetTrainingSettings, TrainingSettings

RENAMED_KEYS: dict[type[Section], dict[str, str]] = {
    BudgetSettings: {"flops_min": "macs_min", "flops_max": "macs_max"},
    TrainingSettings: {"batch": "batch_size"},
    SupernetTrainingSettings: {
        "batch": "batch_size",
        "flops_bins": "macs_bins",
        "budget_paths": "paths",
        "fair_paths": "paths",
    },
    SearchSettings: {
        "against": "second_objective",
        "mutants": "num_mutations",
        "crossovers": "num_crossovers",
        "parents": "num_parents",
        "pictures": "images",
        "batch": "batch_size",
        "recalibration_batch": "recalibration_batch_size",
    },
}
RENAMED_VALUES: dict[type[Section], dict[str, dict[str, str]]] = {
    SearchSettings: {"second_objective": {"flops": "macs"}}
}
DELETED_KEYS: dict[type[Section], dict[str, str]] = {
    SearchSettings: dict.fromkeys(("racing", "racing_chance"), "it saved no time where it was measured")
}


def explain_old_key(section: type[Section], key: str, prefix: str = "") -> str | None:
    """What has become of an earlier version's `key` of `section`, or None. `prefix`, such as `search.`, is its path."""
    if key in RENAMED_KEYS.get(section, {}):
        return f"it is called {prefix}{RENAMED_KEYS[section][key]} now"
    if key in DELETED_KEYS.get(section, {}):
        return f"it was deleted, for {DELETED_KEYS[section][key]}; leave it out"
    return None


def explain_old_value(section: type[Section], key: str, value: object) -> str | None:
    """What a `value` of `key` in `section` is called now, or None if no earlier version had it."""
    new_names = RENAMED_VALUES.get(section, {}).get(key, {})
    return f"it is called {new_names[value]} now" if isinstance(value, str) and value in new_names else None
