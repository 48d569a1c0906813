"""Stages: rows advanced in batches, failures found by halves, and what is in doubt between a message and its answer."""

import asyncio
from datetime import timedelta

import pytest

from clearhouse import clock
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import DatabaseFault, Lost, Passing
from clearhouse.kernel.pipelines.advancing import TRIES
from clearhouse.kernel.pipelines.stages import Aside, BackOff, Failed, Later
from parcels import HEAVY, Depot

NOTE_WRITES = """
CREATE TABLE clearhouse.noted (at timestamptz);
GRANT INSERT ON clearhouse.noted TO clearhouse_writer;
CREATE FUNCTION clearhouse.note_write() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO clearhouse.noted VALUES (clock_timestamp()); RETURN NULL; END $$;
CREATE TRIGGER noted AFTER UPDATE ON clearhouse.parcel FOR EACH ROW EXECUTE FUNCTION clearhouse.note_write();
"""


@pytest.fixture
def depot(database: Database, owner_dsn: str) -> Depot:
    Depot.build(owner_dsn)
    return Depot(database, owner_dsn)


async def test_rows_that_are_due_move_in_batches_until_none_is(depot: Depot) -> None:
    await depot.add(2_500)
    assert await depot.advancer.run(depot.weigh)
    assert depot.batches == [1_000, 1_000, 500]
    assert depot.states() == {"weighed"}
    assert await depot.advancer.step(depot.weigh, 1) == 0


async def test_books_take_turns_and_never_share_a_batch(depot: Depot) -> None:
    depot.ask("INSERT INTO book (name) VALUES ('other')")
    await depot.add(1_500)
    await depot.add(10, book=2)
    await depot.advancer.run(depot.weigh)
    assert depot.batches == [1_000, 10, 500]


async def test_a_row_that_is_not_due_waits(depot: Depot) -> None:
    (one,) = await depot.add()
    then = clock.now() + timedelta(hours=1)
    depot.said = {one: Later(then)}
    await depot.advancer.run(depot.weigh)
    await depot.advancer.run(depot.weigh)
    assert depot.batches == [1]
    assert depot.rows()[one] == ("new", then, 0, None)


async def test_a_failure_waits_longer_each_time_and_is_set_aside_when_the_tries_are_used_up(depot: Depot) -> None:
    (one,) = await depot.add()
    depot.said = {one: Failed("no scales")}
    waits: list[timedelta] = []
    for _ in range(depot.tries - 1):
        await depot.advancer.run(depot.weigh)
        waits.append(depot.rows()[one][1] - clock.now())
        depot.hurry()
    await depot.advancer.run(depot.weigh)
    assert waits[0] < waits[1]
    assert depot.rows()[one] == ("new", None, 3, "no scales")
    assert "pipelines.set_aside" in depot.ask("SELECT lines FROM journal ORDER BY id DESC LIMIT 1")[0][0]


async def test_what_nobody_can_help_is_set_aside_at_once(depot: Depot) -> None:
    (one,) = await depot.add()
    depot.said = {one: Aside("no address")}
    await depot.advancer.run(depot.weigh)
    assert depot.rows()[one] == ("new", None, 1, "no address")


async def test_a_poisonous_row_is_found_by_halves_and_spoils_none_of_its_neighbours(depot: Depot) -> None:
    made = await depot.add(100, weights=[HEAVY if place == 37 else 1 for place in range(100)])
    await depot.advancer.run(depot.weigh)
    rows = depot.rows()
    assert [place for place, each in enumerate(made) if rows[each][0] == "new"] == [37]
    state, next_at, attempts, error = rows[made[37]]
    assert (state, attempts) == ("new", 1)
    assert next_at > clock.now()
    assert "division by zero" in error


async def test_a_batch_that_meets_somebody_is_tried_again_and_moves_once(depot: Depot) -> None:
    def meet(_: str) -> None:
        if len(depot.batches) < 3:
            raise Passing("somebody was there")

    depot.reach = meet
    await depot.add(5)
    assert await depot.advancer.step(depot.weigh, 1) == 5
    assert depot.batches == [5] * 3
    assert set(depot.rows("state, moves, attempts").values()) == {("weighed", 1, 0)}


async def test_a_row_that_meets_somebody_whenever_it_is_tried_waits_and_its_stage_goes_on(depot: Depot) -> None:
    def meet(place: str) -> None:
        if place == "before it has moved":
            raise Passing("somebody was there")

    depot.reach = meet
    (one,) = await depot.add()
    assert await depot.advancer.step(depot.weigh, 1) == 1
    assert depot.batches == [1] * TRIES
    state, _, attempts, error = depot.rows()[one]
    assert (state, attempts, error) == ("new", 1, "Passing: somebody was there")


@pytest.mark.parametrize("where", ["in the batch", "before it"])
async def test_a_database_that_cannot_be_asked_is_no_fault_of_a_row(depot: Depot, where: str) -> None:
    def lose(_: str) -> None:
        raise Lost("the connection is gone")

    await depot.add(3)
    before = depot.rows()
    if where == "in the batch":
        depot.reach = lose
    else:
        depot.ask("ALTER TABLE parcel RENAME TO elsewhere")
    with pytest.raises(DatabaseFault):
        await depot.advancer.step(depot.weigh, 1)
    depot.ask("ALTER TABLE IF EXISTS elsewhere RENAME TO parcel")
    assert depot.rows() == before


async def test_an_answer_that_cannot_be_written_down_leaves_its_row_in_doubt_with_the_reason(depot: Depot) -> None:
    def stumble(place: str) -> None:
        if place == "before it is heard":
            raise KeyError("no such word")

    (one,) = await depot.add(state="weighed")
    depot.reach = stumble
    await depot.advancer.run(depot.send)
    state, _, attempts, error = depot.rows()[one]
    assert (state, attempts, error) == ("sent", 1, "KeyError: 'no such word'")
    assert depot.carrier.given == [one]


async def test_a_row_that_moves_after_a_failure_forgets_it(depot: Depot) -> None:
    (one,) = await depot.add()
    depot.said = {one: Failed("no scales")}
    await depot.advancer.run(depot.weigh)
    depot.said = {}
    depot.hurry()
    await depot.advancer.run(depot.weigh)
    assert depot.rows()[one][0::2] == ("weighed", 0)
    assert depot.rows()[one][3] is None


async def test_a_row_that_its_stage_leaves_where_it_was_counts_as_failed(depot: Depot) -> None:
    (one,) = await depot.add()
    depot.ask("CREATE RULE stay AS ON UPDATE TO parcel WHERE new.state = 'weighed' DO INSTEAD NOTHING")
    await depot.advancer.run(depot.weigh)
    assert depot.rows()[one][2:] == (1, "its stage said that it moved, and it did not")


async def test_what_another_worker_holds_is_passed_by(depot: Depot) -> None:
    await depot.add(5)
    async with depot.database.writing(book=1) as tx:
        await tx.tuples("SELECT id FROM parcel ORDER BY id LIMIT 2 FOR UPDATE")
        assert await depot.advancer.step(depot.weigh, 1) == 3
    assert await depot.advancer.step(depot.weigh, 1) == 2


async def test_a_message_is_answered_and_its_row_moves_on(depot: Depot) -> None:
    made = await depot.add(3, state="weighed")
    await depot.advancer.run(depot.send)
    assert sorted(depot.carrier.given) == sorted(made)
    assert set(depot.rows("state, next_at, attempts, lease, error").values()) == {("taken", None, 0, None, None)}


@pytest.mark.parametrize("took_it", [True, False])
async def test_a_message_without_an_answer_is_in_doubt_and_asked_about_by_its_id(depot: Depot, took_it: bool) -> None:
    (one,) = await depot.add(state="weighed")
    depot.carrier.silent, depot.carrier.deaf = took_it, not took_it
    await depot.advancer.run(depot.send)
    state, next_at, attempts, error = depot.rows()[one]
    assert (state, attempts) == ("sent", 1)
    assert next_at > clock.now()
    assert "ConnectionError" in error
    depot.carrier.silent = depot.carrier.deaf = False
    for stage in (depot.resolve, depot.send):
        depot.hurry()
        await depot.advancer.run(stage)
    assert depot.rows()[one][0] == "taken"
    assert depot.carrier.given == [one]


async def test_an_answer_that_comes_after_another_took_the_row_over_is_dropped(depot: Depot) -> None:
    (one,) = await depot.add(state="weighed")
    depot.carrier.open.clear()
    sending = asyncio.create_task(depot.advancer.run(depot.send))
    await depot.carrier.reached.wait()
    depot.hurry()
    await depot.advancer.run(depot.resolve)
    depot.carrier.open.set()
    await sending
    assert depot.rows("state, moves")[one] == ("taken", 2)


async def test_a_stage_that_writes_its_lease_with_the_move_leaves_the_kernel_nothing_to_write(depot: Depot) -> None:
    (one,) = await depot.add(state="weighed")
    depot.ask(NOTE_WRITES)
    await depot.advancer.run(depot.send_leased)
    assert depot.rows("state, next_at, attempts, lease, error")[one] == ("taken", None, 0, None, None)
    assert depot.ask("SELECT count(*) FROM noted") == [(2,)]


async def test_a_lease_that_the_stage_wrote_itself_holds_as_well(depot: Depot) -> None:
    (one,) = await depot.add(state="weighed")
    depot.carrier.open.clear()
    sending = asyncio.create_task(depot.advancer.run(depot.send_leased))
    await depot.carrier.reached.wait()
    await depot.advancer.run(depot.resolve)
    assert depot.rows("state, moves")[one] == ("sent", 1)
    depot.hurry()
    await depot.advancer.run(depot.resolve)
    depot.carrier.open.set()
    await sending
    assert depot.rows("state, moves")[one] == ("taken", 2)


async def test_a_row_in_doubt_that_nobody_can_tell_of_is_set_aside_where_it_is(depot: Depot) -> None:
    (one,) = await depot.add(state="weighed")
    depot.carrier.silent = True
    await depot.advancer.run(depot.send)
    depot.carrier.deaf = True
    for _ in range(depot.tries):
        depot.hurry()
        await depot.advancer.run(depot.resolve)
    assert depot.rows()[one] == ("sent", None, depot.tries, "no answer")


async def test_a_stage_in_which_a_call_is_under_way_when_it_is_stopped_leaves_its_rows_in_doubt(depot: Depot) -> None:
    (one,) = await depot.add(state="weighed")
    depot.carrier.open.clear()
    sending = asyncio.create_task(depot.advancer.run(depot.send))
    await depot.carrier.reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert depot.rows()[one][0] == "sent"
    await depot.advancer.run(depot.resolve)
    assert depot.rows()[one][0] == "sent"
    depot.hurry()
    await depot.advancer.run(depot.resolve)
    assert depot.rows()[one][0] == "taken"


async def test_a_stop_ends_between_two_batches(depot: Depot) -> None:
    await depot.add(2_500)
    assert not await depot.advancer.run(depot.weigh, stopping=lambda: len(depot.batches) == 2)
    assert depot.batches == [1_000, 1_000]


def test_a_wait_doubles_up_to_the_longest_and_chance_moves_it_within_its_second_half() -> None:
    back_off = BackOff(first_seconds=2, longest_seconds=60)
    assert [back_off.wait(count, 1).total_seconds() for count in (1, 2, 3, 6, 1_000)] == [2, 4, 8, 60, 60]
    assert [back_off.wait(count, 0).total_seconds() for count in (1, 2, 1_000)] == [1, 2, 30]
