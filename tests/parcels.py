"""A process for trying pipelines: parcels that are weighed, sent to a carrier outside, and asked about when nobody knows."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import psycopg

from clearhouse import clock, ids
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.stages import BackOff, Calls, Heard, Leased, Moves, NotYet, Stage, Unheard
from clearhouse.kernel.pipelines.wakes import Wakes

TABLE = """
CREATE TABLE clearhouse.parcel (
    book int NOT NULL, id uuid NOT NULL, state text NOT NULL, next_at timestamptz, attempts int NOT NULL DEFAULT 0,
    lease uuid, error text, moves int NOT NULL DEFAULT 0, weight int NOT NULL DEFAULT 1, PRIMARY KEY (book, id)
);
CREATE INDEX parcel_due ON clearhouse.parcel (book, state, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX parcel_failed ON clearhouse.parcel (book, state, id) WHERE error IS NOT NULL;
GRANT SELECT, INSERT, UPDATE ON clearhouse.parcel TO clearhouse_writer;
GRANT SELECT ON clearhouse.parcel TO clearhouse_reader;
"""
ADD = """
INSERT INTO parcel (book, id, state, next_at, weight)
SELECT %(book)s, n.id, %(state)s, %(at)s, n.weight FROM unnest(%(ids)s::uuid[], %(weights)s::int[]) AS n (id, weight)
"""
MOVE = """
UPDATE parcel SET state = %(to)s, next_at = %(at)s, moves = moves + 1, error = error
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[]) AND state = %(from)s
"""
MOVE_LEASED = """
UPDATE parcel SET state = 'sent', next_at = %(until)s, lease = %(lease)s, attempts = 0, error = NULL, moves = moves + 1
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[]) AND state = 'weighed'
"""
ARRIVE = """
UPDATE parcel SET state = 'taken', next_at = NULL, lease = NULL, moves = moves + 1
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[]) AND state = 'sent'
"""
HEAVY = 10
BROKEN = "UPDATE parcel SET weight = weight / (10 - weight) WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])"


@dataclass(slots=True)
class Carrier:
    """The world outside: it keeps its own record of what it was given, and may fail to answer."""

    given: list[UUID] = field(default_factory=list[UUID])
    silent: bool = False
    deaf: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def send(self, parcels: Sequence[UUID]) -> list[str | Unheard]:
        if self.deaf:
            raise ConnectionError("nobody there")
        self.given += parcels
        self.reached.set()
        await self.open.wait()
        if self.silent:
            raise ConnectionError("no answer came")
        return ["taken"] * len(parcels)

    async def ask(self, parcels: Sequence[UUID]) -> list[str | Unheard]:
        if self.silent and self.deaf:
            return [Unheard("no answer")] * len(parcels)
        return ["taken" if each in self.given else "unknown" for each in parcels]


@dataclass(slots=True)
class Depot:
    """A database with parcels in it, the stages they go through, and the carrier."""

    database: Database
    owner_dsn: str
    carrier: Carrier = field(default_factory=Carrier)
    batches: list[int] = field(default_factory=list[int])
    said: dict[UUID, NotYet] = field(default_factory=dict[UUID, NotYet])
    tries: int = 3
    chance: Random = field(default_factory=lambda: Random(7))
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    reach: Callable[[str], None] = lambda _: None

    @staticmethod
    def build(owner_dsn: str) -> None:
        with psycopg.connect(owner_dsn, autocommit=True) as owner:
            owner.execute(TABLE)

    @property
    def weigh(self) -> Stage:
        return Stage("parcels.weigh", "floor", "parcel", "new", Moves(self._weigh), back_off=BackOff(tries=self.tries))

    @property
    def send(self) -> Stage:
        return Stage("parcels.send", "road", "parcel", "weighed", Calls(self._say, self.carrier.send, self._heard))

    @property
    def send_leased(self) -> Stage:
        return Stage("parcels.send", "road", "parcel", "weighed", Calls(self._lease, self.carrier.send, self._arrive))

    @property
    def resolve(self) -> Stage:
        return Stage(
            "parcels.resolve", "road", "parcel", "sent", Calls(self._about, self.carrier.ask, self._resolved),
            back_off=BackOff(tries=self.tries),
        )  # fmt: skip

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.weigh, self.send, self.resolve

    @property
    def advancer(self) -> Advancer:
        return Advancer(self.database, wake=Wakes(self.stages), chance=self.chance)

    async def add(self, count: int = 1, *, state: str = "new", book: int = 1, weights: Sequence[int] = ()) -> list[UUID]:
        made = [ids.fresh() for _ in range(count)]
        async with self.database.writing(book=book) as tx:
            put(tx, made, state, weights)
        return made

    def rows(self, columns: str = "state, next_at, attempts, error") -> dict[UUID, tuple[Any, ...]]:
        with psycopg.connect(self.owner_dsn, options="-c search_path=clearhouse") as owner:
            return {row[0]: row[1:] for row in owner.execute(f"SELECT id, {columns} FROM parcel".encode())}

    async def until(self, look: Callable[[], bool]) -> None:
        """Wait until there is something to see, looking whenever a transaction of ours is over."""
        self.changed.clear()
        while not look():
            await self.changed.wait()
            self.changed.clear()

    def states(self) -> set[str]:
        return {state for state, *_ in self.rows().values()}

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Say something as the owner. While a worker is at work, what changes rows belongs into a thread: it may wait for
        locks that the worker has, and lets go of only in the loop.
        """
        with psycopg.connect(self.owner_dsn, autocommit=True, options="-c search_path=clearhouse") as owner:
            found = owner.execute(question.encode())
            return found.fetchall() if found.description else []

    def hurry(self) -> None:
        """Let every wait be over."""
        self.ask("UPDATE parcel SET next_at = clock_timestamp() - interval '1 second' WHERE next_at IS NOT NULL")

    async def _weigh(self, tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
        self.batches.append(len(batch))
        await tx.do(BROKEN, book=tx.book, ids=array(batch))
        await tx.do(MOVE, book=tx.book, ids=array([each for each in batch if each not in self.said]), at=at, to="weighed",
                    **{"from": "new"})  # fmt: skip
        tx.wake("parcels.send")
        tx.when_over(self.changed.set)
        await tx.flush()
        self.reach("before it has moved")
        tx.when_over(lambda: self.reach("after it has moved"))
        return {each: self.said[each] for each in batch if each in self.said}

    async def _say(self, tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, UUID | NotYet]:
        await tx.do(MOVE, book=tx.book, ids=array(batch), at=at, to="sent", **{"from": "weighed"})
        self.reach("before it is said")
        return {each: each for each in batch}

    async def _heard(self, tx: Tx, heard: Sequence[Heard[UUID, str]], _: datetime) -> Mapping[UUID, NotYet]:
        self.reach("before it is heard")
        tx.when_over(self.changed.set)
        tx.when_over(lambda: self.reach("after it is heard"))
        await tx.do(MOVE, book=tx.book, ids=array([each.id for each in heard]), at=None, to="taken", **{"from": "sent"})
        return {}

    async def _lease(self, tx: Tx, batch: Sequence[UUID], at: datetime) -> Leased[UUID]:
        lease = ids.fresh()
        await tx.do(MOVE_LEASED, book=tx.book, ids=array(batch), until=at + timedelta(seconds=60), lease=lease)
        return Leased(lease, {each: each for each in batch})

    async def _arrive(self, tx: Tx, heard: Sequence[Heard[UUID, str]], _: datetime) -> Mapping[UUID, NotYet]:
        await tx.do(ARRIVE, book=tx.book, ids=array([each.id for each in heard]))
        return {}

    async def _about(self, _: Tx, batch: Sequence[UUID], __: datetime) -> Mapping[UUID, UUID | NotYet]:
        return {each: each for each in batch}

    async def _resolved(self, tx: Tx, heard: Sequence[Heard[UUID, str]], at: datetime) -> Mapping[UUID, NotYet]:
        tx.when_over(self.changed.set)
        taken = [each.id for each in heard if each.answer == "taken"]
        await tx.do(MOVE, book=tx.book, ids=array(taken), at=None, to="taken", **{"from": "sent"})
        unknown = [each.id for each in heard if each.answer == "unknown"]
        await tx.do(MOVE, book=tx.book, ids=array(unknown), at=at, to="weighed", **{"from": "sent"})
        return {}


def put(tx: Tx, made: Sequence[UUID], state: str = "new", weights: Sequence[int] = ()) -> None:
    """Write parcels within a transaction."""
    given = array(weights or [1] * len(made))
    tx.later(ADD, book=tx.book, ids=array(made), state=state, at=clock.now(), weights=given)
