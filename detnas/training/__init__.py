"""How it learns: one loop for all four trainings, their tasks, schedules and checkpoints."""
