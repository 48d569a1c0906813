"""Submitting: open the transaction, answer replays, run the batch, write the journal, commit; try again where it helps.

Promises: what arrives while one batch commits is the next batch, and each caller has its own answer; one refused or
poisonous item never spoils its neighbours; a caller who goes away leaves the transaction alone; nothing is done twice,
however often a connection is lost.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import structlog

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.callers import Caller, require
from clearhouse.kernel.commands import keys
from clearhouse.kernel.commands.keys import Key, StillRunning
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import Away, DatabaseAway, Duplicate, Lost, Passing, Stale
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.refusals import Kind as RefusalKind
from clearhouse.refusals import Refusal

BATCH_ITEMS_MAX = 10_000
WAITING_ITEMS_MAX = 100_000
IN_FLIGHT_MAX = 2
UNITS_FAIR = 16  # of more than these, half wait for the next batch: it is decided while the first is written
TRIES_MAX = 12
PAUSE_SECONDS = 0.01

Command = TypeVar("Command")
Answer = TypeVar("Answer")
_log = structlog.get_logger(__name__)


class Busy(Refusal):
    """The server has more to do than it can take; ask again in a moment."""

    code = "busy"
    kind = RefusalKind.UNAVAILABLE
    retryable = True


class Failed(Refusal):
    """The request could not be carried out, and nothing was done; the server's log says why under {reference}."""

    code = "failed"
    kind = RefusalKind.UNAVAILABLE


@dataclass(slots=True, eq=False)
class _Unit:
    """What one caller submitted at once, and where it waits for its answers."""

    asked: list[Asked[Any]]
    key: Key | None
    answers: asyncio.Future[list[Any]]


@dataclass(slots=True)
class _Line:
    """The queue of one kind of command in one book."""

    kind: Kind[Any, Any]
    book: int
    waiting: deque[_Unit] = field(default_factory=deque[_Unit])
    items: int = 0
    flying: int = 0
    due: bool = False


class Door:
    """The one door for writes of a process."""

    def __init__(self, database: Database) -> None:
        """Open the door on a database."""
        self.database = database
        self.committed = asyncio.Event()
        self._lines: dict[tuple[str, int], _Line] = {}
        self._running: set[tuple[int, str, UUID, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(
        self,
        kind: Kind[Command, Answer],
        commands: Sequence[Command],
        *,
        caller: Caller,
        book: int,
        key: str | None = None,
    ) -> list[Answer | Refusal]:
        """Carry commands out, in order, and answer each; several at once replay by their own ids."""
        require(caller, kind.scope, book)
        asked = [
            Asked(command, self._id(kind, command, (book, caller.id, key, place)), caller.id, caller.name)
            for place, command in enumerate(commands)
        ]
        held = self._key(kind, asked, key)
        mark = None if held is None else (book, kind.name, caller.id, held.key)
        if mark in self._running and held is not None:
            raise StillRunning(key=held.key)
        line = self._lines.setdefault((kind.name, book), _Line(kind, book))
        if line.items + len(asked) > WAITING_ITEMS_MAX:
            raise Busy
        unit = _Unit(asked, held, asyncio.get_running_loop().create_future())
        if mark is not None:
            self._running.add(mark)
            unit.answers.add_done_callback(lambda _: self._running.discard(mark))
        line.waiting.append(unit)
        line.items += len(asked)
        self._start_soon(line)
        return await unit.answers  # a caller who goes away cancels this, not the batch

    async def close(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @staticmethod
    def _id(kind: Kind[Command, Answer], command: Command, place: tuple[int, UUID, str | None, int]) -> UUID:
        chosen = kind.identify(command)
        if chosen is not None:
            return chosen
        book, principal, key, position = place
        if key is None:
            return ids.fresh()
        return ids.derived(kind.name, str(book), str(principal), key, str(position))

    @staticmethod
    def _key(kind: Kind[Any, Any], asked: Sequence[Asked[Any]], key: str | None) -> Key | None:
        if len(asked) != 1 or not kind.kept or (key is None and kind.natural):
            return None
        only = asked[0]
        return Key(only.by, key or str(only.id), keys.fingerprint(kind.told(only.command)))

    def _start_soon(self, line: _Line) -> None:
        """Let those who ask in this turn of the loop, such as callers who were just answered, come along."""
        if not line.due:
            line.due = True
            asyncio.get_running_loop().call_soon(self._start, line)

    def _start(self, line: _Line) -> None:
        """Send the next batch on its way unless enough are: while they commit, the one after them gathers."""
        line.due = False
        while line.waiting and line.flying < IN_FLIGHT_MAX:
            fair = max(UNITS_FAIR, len(line.waiting) // (IN_FLIGHT_MAX - line.flying))
            units = [line.waiting.popleft()]
            size = len(units[0].asked)
            while line.waiting and len(units) < fair and size + len(line.waiting[0].asked) <= BATCH_ITEMS_MAX:
                unit = line.waiting.popleft()
                size += len(unit.asked)
                units.append(unit)
            line.items -= size
            line.flying += 1
            task = asyncio.create_task(self._fly(line, units))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fly(self, line: _Line, units: list[_Unit]) -> None:
        try:
            answers = await self._answered(line, units)
            for unit, its in zip(units, answers, strict=True):
                if not unit.answers.done():
                    unit.answers.set_result(its)
        except BaseException as error:
            for unit in units:
                if not unit.answers.done():
                    unit.answers.set_exception(error)
            raise
        finally:
            line.flying -= 1
            self._start_soon(line)

    async def _answered(self, line: _Line, units: list[_Unit]) -> list[list[Any]]:
        """Run units; what cannot be run together is run in halves until the poison stands alone."""
        try:
            return await self._tried(line, units)
        except Away:
            return [[DatabaseAway()] * len(unit.asked) for unit in units]
        except (Lost, Passing, Stale):  # no item's fault: halves would fare no better
            return [[Busy()] * len(unit.asked) for unit in units]
        except Exception as error:  # noqa: BLE001 — whatever it is, it must not reach the neighbours
            if len(units) > 1:
                middle = len(units) // 2
                first = await self._answered(line, units[:middle])
                return first + await self._answered(line, units[middle:])
            return [await self._alone(line, units[0], error)]

    async def _alone(self, line: _Line, unit: _Unit, error: Exception) -> list[Any]:
        if len(unit.asked) > 1:
            middle = len(unit.asked) // 2
            loop = asyncio.get_running_loop()
            halves = [_Unit(part, None, loop.create_future()) for part in (unit.asked[:middle], unit.asked[middle:])]
            return [answer for half in halves for answer in (await self._answered(line, [half]))[0]]
        if isinstance(error, Duplicate):
            return [Busy()]
        reference = str(ids.fresh())
        _log.error("command failed", kind=line.kind.name, reference=reference, exc_info=error)
        return [Failed(reference=reference)]

    async def _tried(self, line: _Line, units: list[_Unit]) -> list[list[Any]]:
        attempt = 0
        while True:
            try:
                answers = await self._once(line, units, careful=attempt > 0)
            except Away:  # it was waited for already, longer than all the tries here take
                raise
            except (Stale, Duplicate, Passing, Lost):
                attempt += 1
                if attempt == TRIES_MAX:
                    raise
                if attempt > 1:
                    await asyncio.sleep(PAUSE_SECONDS * (attempt - 1))
            else:
                self.committed.set()
                return answers

    async def _once(self, line: _Line, units: list[_Unit], *, careful: bool) -> list[list[Any]]:
        at = clock.now()
        async with self.database.writing(book=line.book, careful=careful) as tx:
            held = [unit.key for unit in units if unit.key is not None]
            kept = await keys.stored(tx, line.kind, held) if careful and held else {}
            replayed = {
                id(unit): keys.replay(line.kind, unit.key, kept[unit.key.principal, unit.key.key])
                for unit in units
                if unit.key is not None and (unit.key.principal, unit.key.key) in kept
            }
            todo = [unit for unit in units if id(unit) not in replayed]
            asked = [each for unit in todo for each in unit.asked]
            answers = await line.kind.run(tx, asked, at) if asked else []
            done = _dealt(todo, answers)
            fresh = [(unit.key, its[0]) for unit, its in zip(todo, done, strict=True) if unit.key is not None]
            if not careful and not all(keys.is_kept(answer) for _, answer in fresh):
                # Nothing is written under such a key, so nothing would tell that it holds an answer already: look first.
                message = "a key of a refusal may hold the answer to the first request"
                raise Stale(message)
            keys.store(tx, line.kind, fresh)
            self._journal(tx, line.kind, asked, answers, at=at)
        by_unit = {id(unit): its for unit, its in zip(todo, done, strict=True)}
        return [[replayed[id(unit)]] if id(unit) in replayed else by_unit[id(unit)] for unit in units]

    @staticmethod
    def _journal(tx: Tx, kind: Kind[Any, Any], asked: Sequence[Asked[Any]], answers: Sequence[Any], **when: Any) -> None:
        people = {each.by for each in asked}
        by = next(iter(people)) if len(people) == 1 else writing.SYSTEM
        names = {each: ids.text("prn", each) for each in people} if len(people) > 1 else {}
        lines = [_line(kind, each, answer, names.get(each.by, "")) for each, answer in zip(asked, answers, strict=True)]
        if lines:
            writing.write(tx, lines, book=tx.book, kind=kind.name, by=by, **when)


def _line(kind: Kind[Any, Any], asked: Asked[Any], answer: object, by: str) -> Line:
    if isinstance(answer, Refusal):
        return Line(kind.name, str(asked.id), kind.told(asked.command), by, answer.code)
    line = kind.line(asked, answer)
    return Line(line.event, line.subject, line.data, by) if by else line


def _dealt(units: Sequence[_Unit], answers: Sequence[Any]) -> list[list[Any]]:
    dealt: list[list[Any]] = []
    start = 0
    for unit in units:
        dealt.append(list(answers[start : start + len(unit.asked)]))
        start += len(unit.asked)
    return dealt
