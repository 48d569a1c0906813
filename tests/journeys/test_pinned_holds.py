"""A hold for a message in doubt: no timer, no hand and no cleaning up frees it; the answer does, however late it comes."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from clearhouse import clock, ids
from clearhouse.app import worker
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.ledger import holds
from clearhouse.kernel.pipelines.stages import Heard, NotYet
from house import House, movement, ok, post, refused
from parcels import Depot, put

HOLDS = "/api/v1/ledger/holds"


class Paid(Depot):
    """Parcels that are each paid from a hold: pinned when it is said that they are sent, freed with the answer."""

    async def _say(self, tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, UUID | NotYet]:
        assert await holds.pin(tx, batch, at) == set(batch)
        return await super()._say(tx, batch, at)

    async def _resolved(self, tx: Tx, heard: Sequence[Heard[UUID, str]], at: datetime) -> Mapping[UUID, NotYet]:
        await holds.answered(tx, [each.id for each in heard])
        return await super()._resolved(tx, heard, at)


@asynccontextmanager
async def in_doubt(house: House, owner_dsn: str) -> AsyncGenerator[tuple[Paid, httpx.AsyncClient, str]]:
    """Give a parcel that was sent and never answered for, whose hold would have run out long ago."""
    Depot.build(owner_dsn)
    depot = Paid(house.database, owner_dsn)
    operator = await house.caller("operator")
    await house.open_accounts(operator, "purse", "carrier")
    soon = clock.text(clock.now() + timedelta(hours=1))
    made = await post(operator, movement("purse", "carrier", "5.00", pending=True, expires_at=soon))
    hold = str(made["transfers"][0])
    async with house.database.writing(book=1) as tx:
        put(tx, [ids.parse("trf", hold)], "weighed")
    depot.carrier.silent = True
    await depot.advancer.run(depot.send)
    assert depot.states() == {"sent"}
    depot.ask("UPDATE ledger_hold SET expires_at = clock_timestamp() - interval '40 days'")
    yield depot, operator, hold


async def shown(operator: httpx.AsyncClient, hold: str) -> dict[str, Any]:
    return dict(ok(await operator.get(f"{HOLDS}/{hold}")))


async def cleaned_up(house: House) -> int:
    """Do all that a worker does by itself, and return how many holds it freed."""
    await worker.forget_keys(house.database)
    await worker.expire_approvals(house.database)
    return await worker.expire_holds(house.database)


async def test_while_nobody_knows_no_timer_and_no_hand_frees_the_hold(house: House, owner_dsn: str) -> None:
    async with in_doubt(house, owner_dsn) as (depot, operator, hold):
        for _ in range(2):
            assert await cleaned_up(house) == 0
            assert (await shown(operator, hold))["state"] == "pending"
            assert "pinned_at" in await shown(operator, hold)
            assert refused(await operator.post(f"{HOLDS}/{hold}/release", json={}), 422) == "hold_pinned"
            depot.carrier.deaf = True
            for _ in range(depot.tries):  # the second time over, the row is set aside where it is
                depot.hurry()
                await depot.advancer.run(depot.resolve)
        (row,) = depot.rows().values()
        assert (row[0], row[1]) == ("sent", None)


async def test_a_row_in_doubt_that_is_set_aside_and_taken_up_by_hand_keeps_its_hold_all_the_while(
    house: House, owner_dsn: str
) -> None:
    async with in_doubt(house, owner_dsn) as (depot, operator, hold):
        depot.carrier.deaf = True
        for _ in range(depot.tries):
            depot.hurry()
            await depot.advancer.run(depot.resolve)
        depot.ask("UPDATE parcel SET next_at = clock_timestamp(), attempts = 0")  # as a retry by hand does
        await depot.advancer.run(depot.resolve)
        assert await cleaned_up(house) == 0
        assert "pinned_at" in await shown(operator, hold)


@pytest.mark.parametrize("took_it", [True, False])
async def test_the_answer_frees_the_hold_however_late_it_comes(house: House, owner_dsn: str, took_it: bool) -> None:
    async with in_doubt(house, owner_dsn) as (depot, operator, hold):
        if not took_it:
            depot.carrier.given.clear()
        depot.carrier.silent = False
        depot.hurry()
        await depot.advancer.run(depot.resolve)
        assert depot.states() == {"taken" if took_it else "weighed"}
        assert "pinned_at" not in await shown(operator, hold)
        assert await cleaned_up(house) == 0  # the answer says what becomes of it, and no timer any more
        ok(await operator.post(f"{HOLDS}/{hold}/capture" if took_it else f"{HOLDS}/{hold}/release", json={}))
