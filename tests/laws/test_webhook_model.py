"""Which deliveries exist: exactly one for each event that an enabled webhook asked for, in any history, held to a model."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal.sequencing import sweep
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.webhooks import deliveries, endpoints, replays
from clearhouse.kernel.webhooks.deliveries import State, Tried
from clearhouse.kernel.webhooks.endpoints import PREFIX
from clearhouse.refusals import Refusal
from telling import tell
from trying import tried

TYPES = ("a.x", "a.y", "b.x")
FILTERS: tuple[list[str], ...] = ([], ["a.x"], ["a.*"], ["b.x", "a.y"], ["c.*"])
OUTCOMES: tuple[State, ...] = ("delivered", "pending", "dead")
Place = tuple[int, int]
Told = tuple[datetime, list[tuple[str, bool]]]
which, filters = st.integers(0, 3), st.sampled_from(FILTERS)
lines = st.lists(st.tuples(st.sampled_from(TYPES), st.booleans()), min_size=1, max_size=5)
STEPS = st.one_of(
    st.tuples(st.just("add"), filters),
    st.tuples(st.just("change"), which, filters),
    st.tuples(st.just("disable"), which),
    st.tuples(st.just("enable"), which),
    st.tuples(st.just("happen"), lines),
    st.tuples(st.just("happen"), lines),
    st.tuples(st.just("spread")),
    st.tuples(st.just("spread")),
    st.tuples(st.just("race")),
    st.tuples(st.just("break_off")),
    st.tuples(st.just("send"), which, st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=4)),
    st.tuples(st.just("replay_dead"), which),
    st.tuples(st.just("rewind"), which, st.integers(0, 20)),
)

BEGINNING: list[tuple[Any, ...]] = [
    ("add", ["a.*"]), ("add", []), ("happen", [("a.x", False), ("a.y", True), ("b.x", False)]), ("happen", [("a.y", False)]),
    ("spread",), ("send", 0, ["delivered", "dead"]), ("send", 1, ["dead", "pending", "delivered"]),
]  # fmt: skip


@dataclass(slots=True)
class Wanted:
    """A webhook as the model has it."""

    types: list[str]
    number: int
    enabled: bool = True
    states: dict[Place, State] = field(default_factory=dict[Place, State])

    def wants(self, given: str) -> bool:
        return not self.types or given in self.types or given.split(".", maxsplit=1)[0] + ".*" in self.types


class BrokenOffError(Exception):
    """A worker died before its commit."""


@dataclass(slots=True)
class History:
    """What was done in a book, beside what should be so."""

    database: Database
    book: int
    by: UUID
    rows: list[Told] = field(default_factory=list[Told])
    hooks: dict[UUID, Wanted] = field(default_factory=dict[UUID, Wanted])

    async def step(self, name: str, *values: Any) -> None:
        await getattr(self, name)(*values)

    def chosen(self, place: int) -> UUID | None:
        known = list(self.hooks)
        return known[place % len(known)] if known else None

    async def ask(self, run: Any, command: Any, made: UUID | None = None) -> Any:
        async with self.database.writing(book=self.book) as tx:
            return (await run(tx, [Asked(command, made or ids.fresh(), self.by)], clock.now()))[0]

    async def add(self, types: list[str]) -> None:
        made = ids.fresh()
        await self.ask(endpoints.add_webhooks, endpoints.AddWebhook("https://192.0.2.7/", types=types), made)
        self.hooks[made] = Wanted(types, len(self.rows) + 1)

    async def change(self, place: int, types: list[str]) -> None:
        if hook := self.chosen(place):
            await self.ask(endpoints.change_webhooks, endpoints.ChangeWebhook(ids.text(PREFIX, hook), types=types))
            self.hooks[hook].types = types

    async def disable(self, place: int) -> None:
        if hook := self.chosen(place):
            await self.ask(endpoints.disable_webhooks, endpoints.DisableWebhook(ids.text(PREFIX, hook)))
            self.hooks[hook].enabled = False

    async def enable(self, place: int) -> None:
        hook = self.chosen(place)
        if hook is not None:
            await self.ask(endpoints.enable_webhooks, endpoints.EnableWebhook(ids.text(PREFIX, hook)))
            if not self.hooks[hook].enabled:
                self.hooks[hook].enabled, self.hooks[hook].number = True, len(self.rows) + 1

    async def happen(self, told: list[tuple[str, bool]]) -> None:
        given = [Line(name, "something", refused="no" if is_refused else "") for name, is_refused in told]
        await tell(self.database, *given, book=self.book, seal=False)
        await sweep(self.database)
        async with self.database.writing(book=self.book) as tx:
            new = "SELECT number, at FROM journal WHERE book = %s AND number > %s"
            [(number, at)] = await tx.tuples(new, [self.book, len(self.rows)])
        assert isinstance(at, datetime)
        self.rows.append((at, told))
        assert number == len(self.rows)

    async def spread(self) -> None:
        more = True
        while more:
            async with self.database.writing(book=self.book) as tx:
                more = await deliveries.spread(tx, clock.now())
        self._caught_up()

    def _caught_up(self) -> None:
        for hook in self.hooks.values():
            if hook.enabled:
                for number in range(max(hook.number, 1), len(self.rows) + 1):
                    told = self.rows[number - 1][1]
                    fresh = {(number, at) for at, (name, refused) in enumerate(told) if not refused and hook.wants(name)}
                    hook.states.update(dict.fromkeys(fresh, "pending"))
                hook.number = len(self.rows) + 1

    async def race(self) -> None:
        async def once() -> None:
            async with self.database.writing(book=self.book) as tx:
                await deliveries.spread(tx, clock.now())

        await asyncio.gather(once(), once(), once())
        await self.spread()

    async def break_off(self) -> None:
        async def once() -> None:
            async with self.database.writing(book=self.book) as tx:
                await deliveries.spread(tx, clock.now())
                raise BrokenOffError

        with pytest.raises(BrokenOffError):
            await once()

    async def send(self, place: int, outcomes: Sequence[State]) -> None:
        hook = self.chosen(place)
        if hook is None:
            return
        later = clock.now() + timedelta(days=1)
        async with self.database.writing(book=self.book) as tx:
            claims = await deliveries.claim(tx, hook, at=later, most=1_000)
            again = await deliveries.claim(tx, hook, at=later, most=1_000)
            known = await deliveries.events_at(tx, [(each.number, each.place) for each in claims])
        wanted = self.hooks[hook]
        waiting = {each for each, state in wanted.states.items() if state == "pending" and wanted.enabled}
        assert ({(each.number, each.place) for each in claims}, again) == (waiting, [])
        assert set(known) == waiting
        ended = [Tried(each, outcomes[at % len(outcomes)], clock.now(), 200, "so it is") for at, each in enumerate(claims)]
        async with self.database.writing(book=self.book) as tx:
            await deliveries.record(tx, hook, ended, clock.now())
        wanted.states.update({(each.claim.number, each.claim.place): each.state for each in ended})

    async def replay_dead(self, place: int) -> None:
        if hook := self.chosen(place):
            command = replays.ReplayWebhook(ids.text(PREFIX, hook), dead=True)
            answer = await self.ask(replays.replay, command)
            dead = [each for each, state in self.hooks[hook].states.items() if state == "dead"]
            if self.hooks[hook].enabled:
                assert answer.deliveries == len(dead)
                self.hooks[hook].states.update(dict.fromkeys(dead, "pending"))
            else:
                assert isinstance(answer, Refusal)

    async def rewind(self, place: int, row: int) -> None:
        hook = self.chosen(place)
        if hook is not None and self.hooks[hook].enabled and self.rows:
            since = self.rows[row % len(self.rows)][0]
            await self.ask(replays.replay, replays.ReplayWebhook(ids.text(PREFIX, hook), since=since))
            first = next(number for number, (at, _) in enumerate(self.rows, start=1) if at >= since)
            self.hooks[hook].number = min(self.hooks[hook].number, first)

    async def there(self) -> dict[UUID, dict[Place, State]]:
        """Return the deliveries that exist."""
        async with self.database.writing(book=self.book) as tx:
            found = await tx.tuples(
                "SELECT endpoint, number, place, state FROM webhook_delivery WHERE book = %s", [self.book]
            )
        kept: dict[UUID, dict[Place, Any]] = {each: {} for each in self.hooks}
        for endpoint, number, place, state in found:
            kept[UUID(str(endpoint))][int(str(number)), int(str(place))] = state
        return kept


async def begun(database: Database) -> History:
    async with database.writing() as tx:
        [(book,)] = await tx.tuples("INSERT INTO book (name) VALUES (%s) RETURNING id", [f"b{ids.fresh()}"])
        [(by,)] = await tx.tuples("SELECT id FROM principal LIMIT 1")
    return History(database, int(str(book)), UUID(str(by)))


async def lived(database: Database, steps: Sequence[tuple[Any, ...]]) -> None:
    history = await begun(database)
    for step in steps:
        await history.step(*step)
        assert await history.there() == {each: wanted.states for each, wanted in history.hooks.items()}


def test_a_delivery_exists_for_each_event_that_an_enabled_webhook_asked_for_and_no_other(
    app_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "READ_MOST", 3)  # so that there are pages

    with asyncio.Runner() as runner:
        database = runner.run(Database.open(app_dsn))
        runner.run(bootstrap.ensure_admin(database))

        @tried(60, many=2_000)
        @given(st.lists(STEPS, min_size=5, max_size=40))
        def law(steps: list[tuple[Any, ...]]) -> None:
            runner.run(lived(database, [*BEGINNING, *steps, ("spread",)]))

        law()
        runner.run(database.close())
