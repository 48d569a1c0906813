"""Asking a server: its address and the key come from the environment or from the data folder of the same machine.

Promise: what a server refuses is told in its own sentence with its code; a server that does not answer is named.
"""

import os
import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from clearhouse.refusals import Kind, Refusal

URL_FILE = "url"
KEY_FILE = "admin.key"
SECONDS_MAX = 300.0
PAGE = 1_000
DATA = b"data: "


class ServerAway(Refusal):
    """No server answers at {url} ({reason}); start one with `clearhouse run`, or set CLEARHOUSE_URL."""

    code = "server_away"
    kind = Kind.UNAVAILABLE


class KeyNeeded(Refusal):
    """There is no key to show: set CLEARHOUSE_KEY, or run this where the server's data folder is."""

    code = "key_needed"
    kind = Kind.UNAUTHENTICATED


class Refused(Exception):
    """What a server said no with."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class Client:
    """One server, as one caller."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=SECONDS_MAX)
        weakref.finalize(self, self._http.close)

    def get(self, path: str, **query: object) -> Any:
        """Return what stands at a path."""
        return self._asked("GET", path, query=query)

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str | None = None, **query: object
    ) -> Any:
        """Send a body of what is not None, and return the answer; with a key, repeating it is harmless."""
        headers = {} if key is None else {"Idempotency-Key": key}
        content = {} if body is None else {"json": _given(body)}
        return self._asked(method, path, query=query, headers=headers, **content)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, key: str | None = None, **query: object) -> Any:
        """Post a body of what is not None."""
        return self.send("POST", path, body, key=key, **query)

    def change(self, path: str, body: Mapping[str, Any], **query: object) -> Any:
        """Patch what stands at a path; a value of None takes something away."""
        return self._asked("PATCH", path, query=query, json=dict(body))

    def lines(self, path: str, content: bytes, *, key: str, **query: object) -> list[dict[str, Any]]:
        """Post items as NDJSON and return their results in order."""
        return self.content(path, content, media="application/x-ndjson", key=key, **query)["results"]

    def content(self, path: str, content: bytes, *, media: str, key: str | None, **query: object) -> Any:
        """Post the bytes of a file as what they are."""
        headers = {"Content-Type": media} | ({} if key is None else {"Idempotency-Key": key})
        return self._asked("POST", path, query=query, headers=headers, content=content)

    def stream_up(self, path: str, pieces: Iterable[bytes], media_type: str, **query: object) -> Any:
        """Post a body piece by piece, however long it is."""
        return self._asked("POST", path, query=query, headers={"Content-Type": media_type}, content=pieces)

    def items(self, path: str, *, most: int, **query: object) -> list[dict[str, Any]]:
        """Return a list from its pages, up to so many items."""
        found: list[dict[str, Any]] = []
        while len(found) < most:
            page = self.get(path, limit=min(PAGE, most - len(found)), **query)
            found += page["items"]
            query["cursor"] = page["next"]
            if page["next"] is None:
                break
        return found

    @contextmanager
    def stream(self, path: str, *, accept: str = "*/*", **query: object) -> Generator[Iterator[bytes]]:
        """Give the bytes of a long answer as they come."""
        with self._answering(), self._http.stream("GET", path, params=_texts(query), headers={"Accept": accept}) as answer:
            if answer.is_error:
                answer.read()
                _refuse(answer)
            yield answer.iter_bytes()

    def events(self, path: str, **query: object) -> Generator[str]:
        """Give what a stream of events tells, the data of one event after another, as it comes."""
        rest = b""
        with self.stream(path, accept="text/event-stream", **query) as parts:
            for part in parts:
                *lines, rest = (rest + part).split(b"\n")
                yield from (line.removeprefix(DATA).decode() for line in lines if line.startswith(DATA))

    def _asked(self, method: str, path: str, *, query: Mapping[str, object], **content: Any) -> Any:
        with self._answering():
            answer = self._http.request(method, path, params=_texts(query), **content)
        if answer.is_error:
            _refuse(answer)
        return answer.json()

    @contextmanager
    def _answering(self) -> Generator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise ServerAway(url=self.url, reason=str(error) or type(error).__name__) from error


def server() -> Client:
    """Return the server that the environment means, or the one whose data folder this is."""
    folder = Path(os.environ.get("CLEARHOUSE_DATA") or "data")
    url = os.environ.get("CLEARHOUSE_URL") or _kept(folder / URL_FILE) or "http://127.0.0.1:8086"
    key = os.environ.get("CLEARHOUSE_KEY") or _kept(folder / KEY_FILE)
    if not key:
        raise KeyNeeded
    return Client(url, key)


def segment(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")


def _kept(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _texts(query: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value is not None}


def _refuse(answer: httpx.Response) -> None:
    try:
        problem = answer.json()
        raise Refused(problem["detail"], problem["code"])
    except (ValueError, KeyError, TypeError) as error:
        sentence = f"{answer.url} answered {answer.status_code}, and not as Clearhouse does"
        raise Refused(sentence, "unknown_answer") from error
