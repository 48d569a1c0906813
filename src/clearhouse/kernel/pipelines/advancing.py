"""Advancing: one batch of a stage's rows after another, each in its transaction, until nothing is due.

Promises: a batch is done whole or not at all; one poisonous row never spoils its neighbours, and is set aside with its error
when its tries are used up; between what was sent and what was answered a row is in doubt, whatever ends us there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import structlog

from clearhouse import clock, ids
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import Duplicate, Lost, Passing, Stale
from clearhouse.kernel.db.loops import one_by_one
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.pipelines import rows
from clearhouse.kernel.pipelines.rows import PutBack, Taken
from clearhouse.kernel.pipelines.stages import Aside, Calls, Failed, Heard, Later, Leased, Moves, NotYet, Stage, Unheard

TRIES = 8
PAUSE_SECONDS = 0.01
STUCK = Failed("its stage said that it moved, and it did not")
Once = Callable[[Sequence[Any] | None, list[Any], bool], Awaitable[int]]
_log = structlog.get_logger(__name__)


class Advancer:
    """Advances stages on a database. `wake` queues jobs of stages in a transaction; `chance` gives the jitter."""

    def __init__(
        self, database: Database, *, wake: Callable[[Tx, Sequence[str]], None], chance: Random,
        committed: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        """Tell `committed` after each commit, so that the sequencer need not wait for its sweep."""
        self.database = database
        self.wake = wake
        self.chance = chance
        self.committed = committed

    async def run(self, stage: Stage, *, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Advance batch after batch, the books in turn, until nothing is due; return False if it was stopped before."""
        async with self.database.writing() as tx:
            books = await rows.due_books(tx, stage, clock.now())
        while books:
            more: list[int] = []
            left: list[int] = []

            async def one(book: int, more: list[int] = more, left: list[int] = left) -> int:
                if stopping():
                    left.append(book)
                elif await self.step(stage, book) >= stage.batch:
                    more.append(book)
                return 1

            await one_by_one(books, one)
            if left:
                return False
            books = more
        return True

    async def step(self, stage: Stage, book: int) -> int:
        """Advance one batch of a book, and return how many rows that were."""

        async def once(these: Sequence[UUID] | None, held: list[UUID], careful: bool) -> int:  # noqa: FBT001 - see Once
            if isinstance(stage.does, Calls):
                return await self._call(stage, stage.does, book, these, held, careful=careful)
            return await self._move(stage, stage.does, book, these, held, careful=careful)

        async def failed(one: UUID, error: str) -> None:
            async with self.database.writing(book=book) as tx:
                at = clock.now()
                self._put_back(tx, stage, {row: Failed(error) for row in await rows.pick(tx, stage, at, [one])}, at)

        return await self._in_halves(stage, once, failed)

    async def _in_halves(
        self, stage: Stage, once: Once, failed: Callable[[Any, str], Awaitable[None]], these: Sequence[Any] | None = None
    ) -> int:
        """Do something with a batch; what cannot be done together is done in halves until the poison stands alone."""
        held: list[Any] = []
        try:
            return await self._tried(once, these, held)
        except Lost:
            raise
        except Exception as error:
            if not held:
                raise
            if len(held) == 1:
                _log.warning("a row failed", stage=stage.name, row=str(held[0]), exc_info=error)
                await failed(held[0], f"{type(error).__name__}: {error}")
                return 1
        middle = len(held) // 2
        first = await self._in_halves(stage, once, failed, held[:middle])
        return first + await self._in_halves(stage, once, failed, held[middle:])

    @staticmethod
    async def _tried(once: Once, these: Sequence[Any] | None, held: list[Any]) -> int:
        for attempt in range(TRIES):
            held.clear()
            try:
                return await once(these, held, attempt > 0)
            except (Stale, Duplicate, Passing):
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(PAUSE_SECONDS * attempt)
        raise AssertionError  # pragma: no cover - the last try returned or raised

    async def _move(
        self, stage: Stage, does: Moves, book: int, these: Sequence[UUID] | None, held: list[UUID], *, careful: bool
    ) -> int:
        async with self.database.writing(book=book, careful=careful) as tx:
            at = clock.now()
            taken = await rows.pick(tx, stage, at, these)
            held += [each.id for each in taken]
            if not taken:
                return 0
            said = await does.advance(tx, held, at)
            await self._settle(tx, stage, taken, said, at)
        self.committed()
        return len(taken)

    async def _call(
        self, stage: Stage, does: Calls[Any, Any], book: int, these: Sequence[UUID] | None, held: list[UUID], *,
        careful: bool,
    ) -> int:  # fmt: skip
        async with self.database.writing(book=book, careful=careful) as tx:
            at = clock.now()
            taken = await rows.pick(tx, stage, at, these)
            held += [each.id for each in taken]
            if not taken:
                return 0
            prepared = await does.prepare(tx, held, at)
            is_leased = isinstance(prepared, Leased)
            lease, said = (prepared.lease, prepared.messages) if isinstance(prepared, Leased) else (ids.fresh(), prepared)
            messages = {each: word for each, word in said.items() if not isinstance(word, NotYet)}
            kept = {each: word for each, word in said.items() if isinstance(word, NotYet)}
            await self._settle(tx, stage, [each for each in taken if each.id not in messages], kept, at)
            if messages and not is_leased:
                rows.lease(tx, stage, list(messages), lease, at + timedelta(seconds=does.lease_seconds))
        self.committed()
        if messages:
            await self._record(stage, does, book, lease, await self._answers(stage, does, messages))
        return len(taken)

    @staticmethod
    async def _answers(stage: Stage, does: Calls[Any, Any], messages: Mapping[UUID, Any]) -> list[Heard[Any, Any]]:
        """Ask the other side. Whatever goes wrong here, nobody knows what it took: every row stays in doubt."""
        try:
            async with asyncio.timeout(does.lease_seconds):
                answers = await does.call(list(messages.values()))
            return [Heard(each, word, answer) for (each, word), answer in zip(messages.items(), answers, strict=True)]
        except Exception as error:  # noqa: BLE001 - the resolver asks, whatever it was
            _log.warning("no answer", stage=stage.name, rows=len(messages), exc_info=error)
            unheard = Unheard(f"{type(error).__name__}: {error}")
            return [Heard(each, word, unheard) for each, word in messages.items()]

    async def _record(
        self, stage: Stage, does: Calls[Any, Any], book: int, lease: UUID, given: Sequence[Heard[Any, Any]]
    ) -> None:
        async def once(these: Sequence[Heard[Any, Any]] | None, held: list[Any], careful: bool) -> int:  # noqa: FBT001 - see Once
            heard = {each.id: each for each in these or ()}
            async with self.database.writing(book=book, careful=careful) as tx:
                at = clock.now()
                taken = await rows.pick_leased(tx, stage, list(heard), lease)
                held += [heard[each.id] for each in taken]
                said: dict[UUID, NotYet] = {
                    each.id: Failed(each.answer.error) for each in held if isinstance(each.answer, Unheard)
                }
                answered = [each for each in held if each.id not in said]
                if answered:
                    said |= await does.record(tx, answered, at)
                await self._settle(tx, stage, taken, said, at, lease=lease)
            self.committed()
            return len(taken)

        async def failed(one: Heard[Any, Any], error: str) -> None:
            async with self.database.writing(book=book) as tx:
                taken = await rows.pick_leased(tx, stage, [one.id], lease)
                self._put_back(tx, stage, {row: Failed(error) for row in taken}, clock.now())

        await self._in_halves(stage, once, failed, given)

    async def _settle(
        self, tx: Tx, stage: Stage, taken: Sequence[Taken], said: Mapping[UUID, NotYet], at: datetime, *,
        lease: UUID | None = None,
    ) -> None:  # fmt: skip
        """Write what became of the rows: those that moved, and those that did not."""
        moved = [each for each in taken if each.id not in said]
        not_yet: dict[Taken, NotYet] = {each: said[each.id] for each in taken if each.id in said}
        not_yet |= dict.fromkeys(await rows.settle(tx, stage, moved, at, lease), STUCK)
        self._put_back(tx, stage, not_yet, at)
        woken = tx.take_wakes()
        if woken:
            self.wake(tx, woken)

    def _put_back(self, tx: Tx, stage: Stage, not_yet: Mapping[Taken, NotYet], at: datetime) -> None:
        given = [self._waits(stage, row, why, at) for row, why in not_yet.items()]
        rows.put_back(tx, stage, given)
        lines = [
            Line("pipelines.set_aside", str(each.row.id), {"stage": stage.name, "error": each.error})
            for each in given
            if each.next_at is None
        ]
        if lines:
            writing.write(tx, lines, book=tx.book, kind="pipelines.set_aside", by=writing.SYSTEM, at=at)

    def _waits(self, stage: Stage, row: Taken, why: NotYet, at: datetime) -> PutBack:
        if isinstance(why, Later):
            return PutBack(row, why.until, row.attempts, None)
        attempts = row.attempts + 1
        if isinstance(why, Aside) or attempts >= stage.back_off.tries:
            return PutBack(row, None, attempts, why.error)
        return PutBack(row, at + stage.back_off.wait(attempts, self.chance.random()), attempts, why.error)
