"""Taste as a test: the house rules that no linter knows. Each failure names the place and says what is wanted."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES_OF_A_FILE_MAX = 500
LINES_OF_A_FUNCTION_MAX = 70
WORDS_OF_A_FILE_MAX = 2
WORDS_OF_A_TEST_MIN = 3

BANNED = re.compile("(util|helper|common|base|manager|service|repository|handler|impl|data|info|misc)s?|repositories")
UNFINISHED = re.compile("|".join(word + r"\b" for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X")))
SILENCED = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore|pragma:)(?P<rest>.*)")
SILENCED_WITH_REASON = re.compile(r"(:\s*[A-Z0-9, ]+?|\[[\w, -]+\]|\s*no (cover|branch))\s*(-|—|#|:)\s+\w+")
MACHINES = re.compile(r"(?<![\w.*])/(work|root|home|Users|opt)/\w")
REGISTRIES = re.compile("|".join(("pypi" + r"\.org", "python" + "hosted", r"npmjs\.", r"deb\.debian", r"proxy\.golang")))
NUMBERED = re.compile(r"[a-z_]+[12]")
EXACT = ("src/clearhouse/money.py", "src/clearhouse/kernel/ledger/")

GENERATED = "src/clearhouse/v1/"  # protoc names and forms what it makes
GIVEN = frozenset({"data_received", "intercept_service"})  # what a library calls a method that we write for it

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def kept() -> list[Path]:
    """Every file that is in the repository or is about to be."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in sorted(set(names)) if (ROOT / name).is_file() and not name.startswith(GENERATED)]


def of_kind(*suffixes: str, under: str = "") -> Iterator[tuple[str, str]]:
    for path in kept():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in suffixes and name.startswith(under):
            yield name, path.read_text(encoding="utf-8")


def definitions(under: str = "") -> Iterator[tuple[str, Definition]]:
    for name, text in of_kind(".py", under=under):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Definition):
                yield f"{name}:{node.lineno}", node


def lines_that(speak: Callable[[str], object], *suffixes: str, under: str = "") -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in of_kind(*suffixes, under=under)
        for number, line in enumerate(text.splitlines(), start=1)
        if speak(line)
    ]


def empty(name: str) -> bool:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
    return any(BANNED.fullmatch(word) for word in words)


def none_of(found: Iterable[str], wanted: str) -> None:
    places = list(found)
    if places:
        pytest.fail("\n".join([wanted, *places]), pytrace=False)


def test_no_file_is_longer_than_its_wall() -> None:
    long = (f"{name}: {text.count(chr(10))} lines" for name, text in of_kind(".py", ".sql") if too_long(text))
    none_of(long, f"A file has one noun and at most {LINES_OF_A_FILE_MAX} lines; split it by noun.")


def too_long(text: str) -> bool:
    return text.count("\n") > LINES_OF_A_FILE_MAX


def test_no_function_is_longer_than_its_wall() -> None:
    long = (
        f"{place}: {node.name}"
        for place, node in definitions()
        if not isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno >= LINES_OF_A_FUNCTION_MAX
    )
    none_of(long, f"A function has at most {LINES_OF_A_FUNCTION_MAX} lines, and mostly ten.")


def test_nothing_is_named_by_a_word_that_says_nothing() -> None:
    files = (name for name, _ in of_kind(".py", ".sql") if empty(Path(name).stem))
    defined = (f"{place}: {node.name}" for place, node in definitions("src/") if empty(node.name) and node.name not in GIVEN)
    none_of([*files, *defined], "Name it by what it is in the business, or by what it does.")


def test_a_source_file_is_named_by_one_noun() -> None:
    long = (
        name
        for name, _ in of_kind(".py", under="src/")
        if len([word for word in Path(name).stem.split("_") if word]) > WORDS_OF_A_FILE_MAX or name != name.lower()
    )
    none_of(long, "A file is one noun: one word, two if the business says it in two.")


def test_no_work_is_left_for_later_in_a_comment() -> None:
    none_of(
        lines_that(UNFINISHED.search, ".py", ".sql", ".md", ".toml", ""), "What is to be done is an issue, not a comment."
    )


def test_a_silenced_check_says_why() -> None:
    none_of(
        lines_that(silenced_without_reason, ".py"), "Write the rule and the reason: `noqa: S603 - a program of our own`."
    )


def silenced_without_reason(line: str) -> bool:
    found = SILENCED.search(line)
    return found is not None and SILENCED_WITH_REASON.match(found["rest"]) is None


def test_every_ignored_rule_of_the_configuration_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    form = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.mccabe]")]
    rules = (line for line in form.splitlines() if re.match(r'\s+"[A-Z]+\d*",', line))
    none_of((line for line in rules if "#" not in line), "Each ignored rule has its reason beside it.")


def test_no_path_of_a_machine_and_no_address_of_a_registry_is_kept() -> None:
    everything = (
        "",
        ".cfg",
        ".css",
        ".html",
        ".js",
        ".json",
        ".lock",
        ".md",
        ".proto",
        ".py",
        ".sh",
        ".sql",
        ".svg",
        ".toml",
        ".yaml",
    )
    named = lines_that(lambda line: MACHINES.search(line) or REGISTRIES.search(line), *everything)
    none_of(named, "The repository belongs to no machine and to no registry.")


def test_every_package_says_what_it_is() -> None:
    folders = {(ROOT / name).parent for name, _ in of_kind(".py", under="src/clearhouse/")}
    silent = (str(folder.relative_to(ROOT)) for folder in sorted(folders) if not introduces_itself(folder / "__init__.py"))
    none_of(silent, "Every package has an __init__.py whose docstring says what it is and which promise it keeps.")


def introduces_itself(path: Path) -> bool:
    return path.is_file() and bool(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))


def test_our_own_code_is_never_mocked() -> None:
    mocks = re.compile(r"^\s*(from|import)\s+(unittest|mock|pytest_mock)\b|\bmocker\b.*:|\bMagic" + "Mock")
    none_of(lines_that(mocks.search, ".py", under="tests/"), "Write a fake that can lie; a mock only agrees.")


def test_the_name_of_a_test_is_a_sentence() -> None:
    short = (
        f"{place}: {node.name}"
        for place, node in definitions("tests/")
        if node.name.startswith("test_") and len(node.name.split("_")) <= WORDS_OF_A_TEST_MIN
    )
    none_of(short, "A test is a sentence about the business: test_the_creator_of_a_batch_cannot_approve_it.")


def test_no_variable_of_a_test_is_numbered() -> None:
    numbered = (
        f"{name}:{node.lineno}: {node.id}"
        for name, text in of_kind(".py", under="tests/")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and NUMBERED.fullmatch(node.id)
    )
    none_of(numbered, "Say which one it is: payer and payee, not account1 and account2.")


def test_money_is_never_a_float() -> None:
    floats = (
        f"{name}:{node.lineno}"
        for name, text in of_kind(".py", under="src/")
        if name.startswith(EXACT)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name) and node.id == "float"
    )
    none_of(floats, "Money is exact: Amount, int or Decimal.")


def test_every_named_statement_describes_itself() -> None:
    silent = (
        f"{name}: {block.split(chr(10), 1)[0]}"
        for name, text in of_kind(".sql", under="src/")
        for block in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]
        if not block.split("\n", 2)[1].startswith("-- ")
    )
    none_of(silent, "Under its name, a statement says in a comment what it does.")


def test_the_lock_holds_everything_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)(==[^#]*?)(?=\n[a-z]|\Z)", lock, re.MULTILINE | re.DOTALL))
    asked = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["bench"]]
    asked += project["dependency-groups"]["dev"]
    names = {re.split(r"[\[<>=!~;]", one)[0].lower() for one in asked}
    none_of(sorted(names - locked.keys()), "Run `make lock`.")
    none_of((name for name, pin in locked.items() if "--hash=sha256:" not in pin), "Every pin carries its hashes.")
