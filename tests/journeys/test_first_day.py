"""The first day, as the README has it: every line of it is typed, in its order, in the folder of a house that just began."""

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clearhouse.app import cli
from serving import Program, program, until

README = Path(__file__).parent.parent.parent / "README.md"
PLACE = "export PATH=$PWD/.venv/bin:$PATH"
ID = re.compile(r"\b(?:prn|stl)_\w+")
SECRET = re.compile(r"\bck_[\w-]+")
# What a line that is typed must show, of those whose answer is more than that it was done.
SHOWN = {
    "clearhouse ledger statement revenue": "invoice 4711",
    "clearhouse audit head": "head",
    "clearhouse interbank settlement": "COMPLETED",
    "clearhouse interbank explain": "100.00",
    "clearhouse interbank reconcile": "BALANCED",
    "clearhouse records upload": "calls.csv",
    "clearhouse records show": "95",
    "clearhouse records settle": "95",
    "clearhouse records trace": "90",
}


def sections() -> dict[str, list[str]]:
    """Return the lines to type below each heading of the first day."""
    page = README.read_text(encoding="utf-8").partition("## The first day\n")[2].partition("\n## ")[0]
    found: dict[str, list[str]] = {}
    for part in f"### The first day\n{page}".split("### ")[1:]:
        heading, _, text = part.partition("\n")
        found[heading] = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0].splitlines()
    return found


@dataclass(slots=True)
class Terminal:
    """Somebody in the folder of a server, who puts in what an answer said where a line has a placeholder."""

    folder: Path
    run: Callable[[list[str]], tuple[int, str, str]]
    setting: Callable[[str, str], None]
    seen: dict[str, str] = field(default_factory=dict[str, str])

    def type(self, line: str) -> str:
        """Type a line and return what it showed; a settlement is looked at until it has come to its end."""
        line = re.sub(r"\b(prn|stl|ck)_…", lambda which: self.seen[which[1]], line.partition(" #")[0])
        words = shlex.split(line)
        if line == PLACE:
            return ""
        if words[0] == "export":
            self.setting(*words[1].split("=", 1))
            return ""
        if words[0] != "clearhouse":
            subprocess.run(["/bin/bash", "-c", line], cwd=self.folder, check=True)
            return ""
        if line.startswith("clearhouse interbank settlement"):
            until(lambda: "COMPLETED" in self.run(words[1:])[1])
        status, out, err = self.run(words[1:])
        assert status == 0, (line, err)
        for found in [*ID.findall(out), *SECRET.findall(out)]:
            self.seen.setdefault(found.partition("_")[0], found)
        return out


@pytest.fixture
def server(open_folder: Path) -> Iterator[Program]:
    place = Path(tempfile.mkdtemp(prefix="first-day-", dir=open_folder))
    place.chmod(0o711)
    with program(place / "data") as started:
        yield started.ready()


@pytest.fixture
def terminal(server: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Give a terminal in the folder where the server was started."""

    def run(words: list[str]) -> tuple[int, str, str]:
        status = 0
        try:
            cli.main(words)
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return status, str(said.out), str(said.err)

    for name in ("CLEARHOUSE_URL", "CLEARHOUSE_KEY", "CLEARHOUSE_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(server.folder.parent)
    return Terminal(server.folder.parent, run, monkeypatch.setenv)


def test_every_line_of_the_first_day_does_what_the_page_says(terminal: Terminal) -> None:
    typed = sections()
    assert list(typed) == ["The first day", "Interbank", "Records"]
    for line in [each for lines in typed.values() for each in lines]:
        told = terminal.type(line)
        for start, word in SHOWN.items():
            assert not line.startswith(start) or word in told, (line, told)
    lines = [each for its in typed.values() for each in its]
    assert {start for start in SHOWN if not any(each.startswith(start) for each in lines)} == set()
