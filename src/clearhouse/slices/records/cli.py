"""`clearhouse records …`: settlement structures, uploads of files and folders, rounds, history."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from clearhouse.refusals import Malformed
from clearhouse.transport.cli.asked import ASKED, READING, Asked, Reading
from clearhouse.transport.cli.client import Refused, segment, server
from clearhouse.transport.cli.showing import progress, show, show_all

BASE = "/settlement"
PIECE_BYTES = 256 * 1024
MEDIA_TYPES = {".ndjson": "application/x-ndjson", ".jsonl": "application/x-ndjson", ".csv": "text/csv", ".json": ""}
COLUMNS = ("settleid", "primaryKey", "aggregationType", "aggregationMetrics", "settlementType", "lastUpdate")
app = App(name="records", help="Count anything by key, and settle it in rounds.")
Most = Annotated[int, Parameter(name="--limit", help="How many at most.")]
Mode = Annotated[
    Literal["upload", "chunk"], Parameter(help="upload: a file is counted whole or not at all; chunk: part by part.")
]


@app.command
def create(
    settleid: str, key: str, *metrics: str, aggregation: str = "mcCounter", settlement: str = "none",
    tolerance: str | None = None, currency: str | None = None, dispute_hours: int | None = None, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Create a structure: records are summed by KEY, for each of METRICS."""
    body = {
        "settleid": settleid, "primaryKey": key, "aggregates": list(metrics), "aggregationType": aggregation,
        "settlementType": settlement, "tolerance": tolerance, "currency": currency, "disputeHours": dispute_hours,
    }  # fmt: skip
    show(server().post(f"{BASE}/create", body, key=how.key, book=how.book)["output"], json=how.json)


@app.command(name="list")
def list_structures(*, limit: Most = 100, how: Reading = READING) -> None:
    """List structures."""
    show_all(server().get(BASE, limit=limit, book=how.book)["output"], COLUMNS, json=how.json)


@app.command(name="show")
def show_structure(settleid: str, *, at: str | None = None, how: Reading = READING) -> None:
    """Show a structure with its aggregates, as it is or (--at) as it was."""
    show(server().get(_path(settleid), at=at, book=how.book)["output"], json=how.json)


@app.command
def history(settleid: str, *, limit: Most = 20, how: Reading = READING) -> None:
    """Show a structure as it was after each change, newest first."""
    found = server().get(_path(settleid, "history"), limit=limit, book=how.book)["output"]
    show_all(found, ("lastUpdate", "lastSettlement", "aggregates"), json=how.json)


@app.command
def settled(settleid: str, *, limit: Most = 20, how: Reading = READING) -> None:
    """Show what the settled rounds came to, newest first."""
    found: Any = server().get(_path(settleid, "settled"), limit=limit, book=how.book)["output"]
    several = msgspec.convert(found if isinstance(found, list) else [found], list[dict[str, Any]])
    show_all(several, ("timestamp", "aggregates"), json=how.json)


@app.command
def settle(settleid: str, *, how: Asked = ASKED) -> None:
    """End the round and show what it comes to."""
    show(server().post(_path(settleid, "settle"), key=how.key, book=how.book)["output"], json=how.json)


@app.command
def clear(settleid: str, *, how: Asked = ASKED) -> None:
    """End the round without settling it; nothing is destroyed."""
    show(server().post(_path(settleid, "clear"), key=how.key, book=how.book)["output"], json=how.json)


@app.command
def trace(settleid: str, key: str, *, round: int = 0, limit: Most = 100, how: Reading = READING) -> None:  # noqa: A002 - the word for it
    """Show the records that a line was made of, in the open round or in another."""
    query = {"key": key, "round": round, "limit": limit, "book": how.book}
    found = server().get(_path(settleid, "records"), **query)["output"]
    show_all(found, ("change", "upload", "place", "organisation", "at", "record"), json=how.json)


@app.command
def lines(settleid: str, *, round: int = 0, limit: Most = 100, how: Reading = READING) -> None:  # noqa: A002 - the word for it
    """Show the lines of a settled round (the last one, or --round): values side by side, what was said, what stands."""
    found = server().get(_path(settleid, "lines"), round=round, limit=limit, book=how.book)["output"]
    show_all(found, ("round", "key", "state", "settled", "words", "resolution", "until"), json=how.json)


@app.command
def accept(settleid: str, key: str, *, round: int, remark: str = "", how: Asked = ASKED) -> None:  # noqa: A002 - the word for it
    """Accept a line of a settled round, for your organisation."""
    _say(settleid, {"round": round, "key": key, "word": "accepted", "remark": remark}, how)


@app.command
def dispute(settleid: str, key: str, *, round: int, remark: str = "", how: Asked = ASKED) -> None:  # noqa: A002 - the word for it
    """Dispute a line of a settled round, for your organisation, while its window is open."""
    _say(settleid, {"round": round, "key": key, "word": "disputed", "remark": remark}, how)


@app.command
def resolve(
    settleid: str, key: str, *stands: str, round: int, remark: str, how: Asked = ASKED,  # noqa: A002 - the word for it
) -> None:  # fmt: skip
    """End a dispute: say what stands, each as METRIC=VALUE, and why (--remark)."""
    values = dict(_pair(each) for each in stands)
    body = {"round": round, "key": key, "stands": values, "remark": remark}
    show(server().post(_path(settleid, "resolutions"), body, key=how.key, book=how.book)["output"], json=how.json)


@app.command
def uploads(settleid: str, *, name: str | None = None, limit: Most = 100, how: Reading = READING) -> None:
    """Show how far uploads are that are on their way, or (--name) the one that you call so."""
    found = server().get(_path(settleid, "uploads"), uploadId=name, limit=limit, book=how.book)["output"]
    show_all(found, ("upload", "state", "organisation", "records", "repeated", "change"), json=how.json)


@app.command
def upload(settleid: str, *places: Path, mode: Mode = "upload", how: Reading = READING) -> None:
    """Upload files, and the files in folders: .ndjson, .jsonl, .csv, .json. The same file again has no second effect.

    The first file that is refused ends it: those before it are counted, and sent again with it they are not counted again.
    """
    files = [file for place in places for file in _files(place)]
    total = sum(file.stat().st_size for file in files)
    with progress("uploading") as bar:
        task = bar.add_task("uploading", total=total)
        tell = partial(bar.advance, task)
        told, refused = _sent_until(files, lambda file: _sent(settleid, file, mode, how, tell))
    if told or not refused:
        show_all(told, ("file", "records", "repeated", "upload"), json=how.json)
    if refused:
        raise refused


def _say(settleid: str, word: dict[str, Any], how: Asked) -> None:
    show(server().post(_path(settleid, "words"), word, key=how.key, book=how.book)["output"], json=how.json)


def _pair(text: str) -> tuple[str, str]:
    metric, sign, value = text.rpartition("=")
    if not sign or not metric or not value:
        raise Malformed(field=text, problem="write what stands as METRIC=VALUE")
    return metric, value


def _sent_until(files: list[Path], send: Callable[[Path], dict[str, Any]]) -> tuple[list[dict[str, Any]], Refused | None]:
    """Send files until one is refused, and return what was said of those before it and of that one."""
    told: list[dict[str, Any]] = []
    for file in files:
        try:
            told.append(send(file))
        except Refused as refused:
            return told, Refused(f"{file}: {refused}", refused.code)
    return told, None


def _sent(settleid: str, file: Path, mode: str, how: Reading, tell: Callable[[int], None]) -> dict[str, Any]:
    name = _name(file)
    media_type = MEDIA_TYPES[file.suffix.lower()]
    if media_type:
        query = {"mode": mode, "uploadId": name, "book": how.book}
        answer = server().stream_up(_path(settleid, "upload"), _pieces(file, tell), media_type, **query)
        return {"file": str(file), **answer["output"]["received"]}
    body = {"record": msgspec.Raw(file.read_bytes()), "uploadId": name}
    server().stream_up(_path(settleid, "update"), [msgspec.json.encode(body)], "application/json", book=how.book)
    tell(file.stat().st_size)
    return {"file": str(file), "upload": name}


def _files(place: Path) -> list[Path]:
    found = sorted(each for each in place.rglob("*") if each.suffix.lower() in MEDIA_TYPES) if place.is_dir() else [place]
    wrong = next((each for each in found if each.suffix.lower() not in MEDIA_TYPES or not each.is_file()), None)
    if wrong is not None or not found:
        raise Malformed(field=str(wrong or place), problem=f"there is no file of {', '.join(MEDIA_TYPES)}")
    return found


def _pieces(file: Path, tell: Callable[[int], None]) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            yield piece
            tell(len(piece))


def _name(file: Path) -> str:
    """Return what an upload is called: what is in it, so that the same file is the same upload."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _path(settleid: str, *more: str) -> str:
    return "/".join([BASE, segment(settleid), *more])
