"""Links of the Markdown files at the root as the repository's web pages follow them; mkdocs checks those of docs/."""

import re
from pathlib import Path

import pytest
from paths import ROOT

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """Where the links of a Markdown text lead, in which code is no link."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", FENCED.sub("", text)))


def anchors(text: str) -> set[str]:
    """Of its headings, as GitHub makes them of words; a heading that stands again gets a number."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *$", FENCED.sub("", text), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return {name if number == 0 else f"{name}-{number}" for name, last in found.items() for number in range(last + 1)}


def broken(page: Path) -> list[str]:
    """The links of a page to files, or headings in them, that are not there."""
    bad = []
    for link in links(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            bad.append(link)
    return bad


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_and_headings_that_are_there(name: str) -> None:
    assert broken(ROOT / name) == []


def test_the_readme_links_to_every_document() -> None:
    documents = {f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")} - {"docs/changelog.md", "docs/index.md"}
    assert documents <= {link.partition("#")[0] for link in links((ROOT / "README.md").read_text())}


def test_the_readme_is_short_and_its_images_are_small() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    images = [
        ROOT / name for name in re.findall(r'src="([^"]+)"|!\[[^\]]*\]\(([^)]+)\)', text) for name in name if name
    ]
    assert len(images) == 3 and sum(image.stat().st_size for image in images) < 200_000


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# What `it` costs, twice\n\n## Twice\n\n## Twice\n\n```\n# comment\n```\n")
    good = ["other.md", "other.md#what-it-costs-twice", "other.md#twice-1", "#own", "https://example.org/x"]
    bad = ["gone.md", "other.md#comment", "other.md#twice-2", "#none"]
    page.write_text("# Own\n\n" + "\n".join(f"[x]({link})" for link in good + bad) + "\n`[x](code.md)`\n")
    assert broken(page) == bad
