"""The pages agree with the code: links lead somewhere, verbs exist, records say why, the example runs."""

import doctest
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import pytest

from clearhouse.app import cli
from clearhouse.slices.interbank import settlement
from clearhouse.slices.interbank.netting import cycle

ROOT = Path(__file__).parent.parent
DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINES_OF_A_PAGE_MAX = 100
LINES_OF_THE_EXAMPLE = 5

LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
VERB = re.compile(r"(?:^|`)make ((?:[a-z]+ ?)+)", re.MULTILINE)
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)
HELP = re.compile(r"^([a-z]+):.*## (\S.*)", re.MULTILINE)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """Return a page without its fenced blocks, where brackets are code and not links."""
    return re.sub(r"^```.*?^```", "", text(path), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.finditer(prose(page)):
        target = (page.parent / link["path"]) if link["path"] else page
        if not target.exists():
            yield f"{link[0]}: there is no {link['path']}"
        elif link["anchor"] and link["anchor"] not in anchors(target):
            yield f"{link[0]}: there is no heading {link['anchor']}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_verb_that_a_page_names_is_in_the_makefile(page: Path) -> None:
    targets = set(TARGET.findall(text(ROOT / "Makefile")))
    written = re.sub(r"^(make \w+) .*$", r"\1", text(page), flags=re.MULTILINE)
    named = {verb for verbs in VERB.findall(written) for verb in verbs.split()}
    assert named <= targets


def test_every_verb_of_the_makefile_has_its_line_of_help() -> None:
    makefile = text(ROOT / "Makefile")
    verbs = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split())
    assert verbs == {verb for verb, _ in HELP.findall(makefile)} == set(TARGET.findall(makefile))


def test_the_readme_shows_the_picture_and_the_two_commands() -> None:
    readme = text(ROOT / "README.md")
    assert "docs/house.svg" in readme
    assert {"make run", "make test"} <= set(re.findall(r"^make \w+", readme, re.MULTILINE))
    assert parse(ROOT / "docs" / "house.svg").getroot().tag.endswith("svg")


def test_the_example_of_the_readme_has_five_lines_and_runs() -> None:
    block = re.findall(r"^```python\n(.*?)^```", text(ROOT / "README.md"), re.MULTILINE | re.DOTALL)[0]
    assert len(block.splitlines()) == LINES_OF_THE_EXAMPLE
    example = doctest.DocTestParser().get_doctest(block, {}, "README.md", "README.md", 0)
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=told.append)
    assert "".join(told) == ""


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "STYLE.md"])
def test_a_page_of_rules_is_one_page(name: str) -> None:
    assert len(text(ROOT / name).splitlines()) <= LINES_OF_A_PAGE_MAX


def test_the_map_shows_every_floor() -> None:
    source = ROOT / "src" / "clearhouse"
    floors = {path.stem for folder in (source, source / "kernel") for path in folder.iterdir() if path.name[0] not in "_."}
    page = text(ROOT / "ARCHITECTURE.md")
    assert {floor for floor in floors if not re.search(rf"\b{floor}\b", page)} <= {"py"}


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = sorted(path.name[:4] for path in DECISIONS.glob("[0-9]*.md"))
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


@pytest.mark.parametrize("record", sorted(DECISIONS.glob("*.md")), ids=lambda record: record.stem)
def test_a_decision_record_has_its_status_says_why_and_what(record: Path) -> None:
    page = text(record)
    parts = set(re.findall(r"^(?:#+ |\*\*)(Status|Why|What)\b", page, re.MULTILINE))
    assert page.startswith("# ")
    assert parts == {"Status", "Why", "What"}


def test_every_runtime_dependency_has_its_reason_in_a_decision_record() -> None:
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    reasons = "\n".join(text(record) for record in DECISIONS.glob("[0-9]*.md"))
    names = {re.split(r"[<>=!~;]", dependency)[0] for dependency in project["dependencies"]}
    assert {name for name in names if f"| `{name}` |" not in reasons} == set()


PICTURE = re.compile(r"^```mermaid\n(.*?)^```", re.MULTILINE | re.DOTALL)
ARROW = re.compile(r"^ *([A-Z_]+) --> ([A-Z_]+)(?:: .+)?$", re.MULTILINE)
TYPED = re.compile(r"(?:^|`)clearhouse (?P<words>[a-z][a-z-]*(?: [a-z][a-z-]*)?)", re.MULTILINE)


def test_the_pictures_of_interbank_show_what_is_legal_and_nothing_else() -> None:
    drawn = [set(ARROW.findall(each)) for each in PICTURE.findall(text(ROOT / "docs" / "interbank.md"))]
    tables: list[Mapping[Any, frozenset[Any]]] = [settlement.TRANSITIONS, cycle.TRANSITIONS]
    legal = [{(each.value, to.value) for each, after in table.items() for to in after} for table in tables]
    assert drawn == legal


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_verb_of_the_program_that_a_page_names_is_there(page: Path) -> None:
    named = {found["words"] for found in TYPED.finditer(text(page))}
    assert {words for words in named if not is_verb(words)} == set()


def is_verb(words: str) -> bool:
    """Tell whether the program has a verb, or a group with it; what follows a verb that stands alone is its own affair."""
    first, _, second = words.partition(" ")
    if first not in cli.app:
        return False
    group = cli.app[first]
    verbs = {each for each in group if not each.startswith("-")}
    return not verbs or not second or second in verbs


def test_every_setting_that_the_page_of_interbank_names_is_read() -> None:
    named = set(re.findall(r"`((?:GRPC|BANK)_[A-Z_]+)`", text(ROOT / "docs" / "interbank.md")))
    read = text(ROOT / "src" / "clearhouse" / "app" / "config.py")
    assert len(named) >= 8
    assert {each for each in named if f'"{each}"' not in read} == set()
