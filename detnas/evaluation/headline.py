"""The scores of a network in a few words."""

from collections.abc import Mapping


def headline(scores: Mapping[str, float | None], metric: str) -> str:
    """mAP, AP50 and, if it is another score, `metric`, by which the search chose: "mAP 0.312, AP50 0.480"."""
    names = dict.fromkeys(("mAP", "AP50", metric))
    return ", ".join(f"{name} {scores[name]:.3f}" for name in names)
