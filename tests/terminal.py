"""What somebody types, and what the program says: in this process, against a real server."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from clearhouse.app import cli


class Said(NamedTuple):
    """What a verb answered."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


Typed = Callable[..., Said]


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where somebody types who has a key for a server."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def typed(self, *words: str, url: str, key: str) -> Said:
        self.monkeypatch.setenv("CLEARHOUSE_URL", url)
        self.monkeypatch.setenv("CLEARHOUSE_KEY", key)
        status = 0
        try:
            cli.main(words)
        except SystemExit as end:
            status = int(end.code or 0)
        said = self.capsys.readouterr()
        return Said(status, str(said.out), str(said.err))
