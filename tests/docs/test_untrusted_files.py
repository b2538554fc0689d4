"""The page on files that users did not write."""

import re

from paths import DOCS, TESTS

DRAWN = (
    "data/formats/test_malformed.py",
    "data/formats/test_odd_but_valid.py",
    "models/test_strange_weights.py",
    "rundir/test_drawn_damage.py",
)
"""The property tests over data sets, recipes, weights files and run directories."""


def test_the_number_of_drawn_situations_is_that_of_the_tests() -> None:
    said = re.search(r"([\d,]+) situations are drawn", (DOCS / "untrusted-files.md").read_text())
    counts = [
        int(count)
        for file in DRAWN
        for count in re.findall(r"^@(?:examples\(|settings\(max_examples=)(\d+)", (TESTS / file).read_text(), re.M)
    ]
    assert said is not None and int(said[1].replace(",", "")) == sum(counts) >= 300
