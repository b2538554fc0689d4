"""What the check of the recalibration says: whether other images would have changed the ranking."""

from detnas.rundir.layout import RecalibrationCheck


def explain_recalibration(check: RecalibrationCheck) -> str:
    """A sentence or two on whether to trust the winner's lead."""
    shift = max(abs(one.other_images - one.fitness) for one in check.candidates)
    first = check.candidates[0]
    text = f"Recalibrated on other images, the fitness of a candidate changes by up to {100 * shift:.1f} points"
    if len(check.candidates) == 1:
        return f"{text}. There is no second candidate to compare with."
    highest = max(check.candidates, key=lambda one: one.other_images)
    if highest.other_images > first.other_images:
        return (
            f"{text}, and {highest.architecture} would have come first: the differences between these candidates are "
            "smaller than what the choice of recalibration images changes."
        )
    lead = min(first.fitness - one.fitness for one in check.candidates[1:])
    text += f", and the winner stays first of these {len(check.candidates)}"
    if lead < shift:
        return f"{text}. But its lead of {100 * lead:.1f} is smaller than that: still other images could change it."
    return f"{text}, by a lead of {100 * lead:.1f} that is larger than that."
