"""Who evaluates what: the Optuna study, its storage, and its workers."""
