"""The one door: whatever happens in it, each caller has its own answer and everything is done exactly once."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from structlog.testing import capture_logs

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.callers import Denied
from clearhouse.kernel.commands import keys, submitting
from clearhouse.kernel.commands.keys import KeyReused, StillRunning
from clearhouse.kernel.commands.submitting import TRIES_MAX, Busy, Door, Failed
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.refusals import NotFound, Refusal
from stage import ANN, Hushed, Said, Say, Silent, Stage, caller

BOB = caller("Bob")


@pytest.fixture
async def stage(owner_dsn: str, database: Database) -> AsyncGenerator[Stage]:
    """Give a door with something to say behind it."""
    Stage.build(owner_dsn)
    found = Stage(database, Door(database), owner_dsn)
    yield found
    found.open.set()
    await found.door.close()


# Gathering -----------------------------------------------------------------------------------------------------------


async def test_many_callers_share_a_few_transactions_and_each_has_its_own_answer(stage: Stage) -> None:
    stage.open.clear()
    texts = [f"word {number}" for number in range(100)]
    saying = [asyncio.create_task(stage.say(text)) for text in texts]
    await stage.reached.wait()
    stage.open.set()
    assert [each.text for each in await asyncio.gather(*saying)] == texts
    assert len(stage.batches) < 12
    assert sorted(stage.told()) == sorted(texts)


async def test_a_refused_item_says_so_to_its_own_caller_only(stage: Stage) -> None:
    answers = await asyncio.gather(*(stage.answer(text) for text in ("hello", "", "again", "")))
    assert [isinstance(each, Silent) for each in answers] == [False, True, False, True]
    assert sorted(stage.told()) == ["again", "hello"]


async def test_items_that_come_together_are_answered_in_their_order(stage: Stage) -> None:
    texts = [f"word {number}" for number in range(300)]
    answers = await stage.door.submit(stage.kind(), [Say(text) for text in texts], caller=ANN, book=1)
    assert [each.text for each in answers if isinstance(each, Said)] == texts == stage.told()
    assert await stage.door.submit(stage.kind(), [], caller=ANN, book=1) == []


async def test_a_batch_grows_only_to_its_bound(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "BATCH_ITEMS_MAX", 10)
    submitted = [stage.door.submit(stage.kind(), [Say("word")] * count, caller=ANN, book=1) for count in (4, 4, 4, 25, 9)]
    assert [len(each) for each in await asyncio.gather(*submitted)] == [4, 4, 4, 25, 9]
    assert sorted(len(each) for each in stage.batches) == [4, 8, 9, 25]


async def test_books_and_kinds_never_share_a_transaction(stage: Stage) -> None:
    other = await stage.open_book("other")
    await asyncio.gather(stage.say("here"), stage.say("there", book=other), stage.say("else", kind=stage.kind("test.cry")))
    assert sorted(stage.batches) == [["else"], ["here"], ["there"]]


async def test_nobody_submits_what_they_may_not(stage: Stage) -> None:
    with pytest.raises(Denied):
        await stage.say("hello", by=caller("Eve", "test:listen"))
    with pytest.raises(NotFound):
        await stage.say("hello", book=7)
    assert stage.told() == []


async def test_more_than_can_wait_is_turned_away_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "WAITING_ITEMS_MAX", 5)
    stage.open.clear()
    first = [await stage.begun(f"first {number}") for number in range(submitting.IN_FLIGHT_MAX)]
    waiting = [asyncio.create_task(stage.say(f"word {number}")) for number in range(5)]
    await asyncio.sleep(0)  # each of them comes as far as the queue
    with pytest.raises(Busy):
        await stage.say("one too many", key="k")
    stage.open.set()
    await asyncio.gather(*first, *waiting)
    assert (await stage.say("now there is room", key="k")).text in stage.told()


async def test_closing_the_door_waits_for_what_is_under_way(stage: Stage) -> None:
    stage.open.clear()
    saying = await stage.begun("hello")
    closing = asyncio.create_task(stage.door.close())
    stage.open.set()
    await closing
    assert saying.done()
    assert stage.told() == ["hello"]


# Keys ----------------------------------------------------------------------------------------------------------------


async def test_the_same_key_and_body_give_the_same_answer_and_nothing_is_done_again(stage: Stage) -> None:
    answers = [await stage.say("hello", key="k") for _ in range(3)]
    assert answers == [answers[0]] * 3
    assert stage.told() == ["hello"]
    assert stage.journal() == ["test.say"]


async def test_a_key_that_was_used_for_another_body_is_refused(stage: Stage) -> None:
    await stage.say("hello", key="k")
    assert await stage.answer("goodbye", key="k") == KeyReused(key="k")
    assert await stage.answer("", key="k") == KeyReused(key="k")
    assert stage.told() == ["hello"]


async def test_a_connection_that_met_a_used_key_goes_on_as_before(stage: Stage, app_dsn: str) -> None:
    async with stage.elsewhere(app_dsn, connections=1) as narrow:
        said = await narrow.say("hello", key="k")
        for _ in range(4):
            assert await narrow.say("hello", key="k") == said
            assert await narrow.answer("", key="k") == KeyReused(key="k")
        assert (await narrow.say("again", key="l")).text == "again"


async def test_a_key_whose_first_request_is_still_running_is_refused_until_it_is_done(stage: Stage) -> None:
    stage.open.clear()
    saying = await stage.begun("hello", key="k")
    with pytest.raises(StillRunning):
        await stage.say("hello", key="k")
    stage.open.set()
    assert await saying == await stage.say("hello", key="k")
    assert stage.told() == ["hello"]


async def test_a_key_is_another_key_for_another_caller_book_or_kind(stage: Stage) -> None:
    other = await stage.open_book("other")
    said = [
        await stage.say("hello", key="k"),
        await stage.say("hello", key="k", by=BOB),
        await stage.say("hello", key="k", book=other),
        await stage.say("hello", key="k", kind=stage.kind("test.cry")),
    ]
    assert len({each.id for each in said}) == 4
    assert stage.told() == ["hello"] * 4


async def test_a_refusal_is_replayed_even_if_it_would_not_be_one_any_more(stage: Stage) -> None:
    refusal = await stage.answer("", key="k")
    assert refusal == Silent(text="''")
    stage.silence = "something else"
    assert await stage.answer("", key="k") == refusal
    assert str(await stage.answer("", key="k")) == str(refusal)
    assert stage.told() == []


async def test_a_refusal_that_says_nothing_of_the_state_of_things_is_not_kept(stage: Stage) -> None:
    stage.hushed = "hello"
    assert await stage.answer("hello", key="k") == Hushed()
    stage.hushed = None
    assert (await stage.say("hello", key="k")).text == "hello"


async def test_a_refusal_for_what_is_not_there_is_kept_though_it_came_meanwhile(stage: Stage) -> None:
    stage.hushed, stage.hush = "hello", NotFound(what="listener", id="7")
    refusal = await stage.answer("hello", key="k")
    stage.hushed = None
    assert await stage.answer("hello", key="k") == refusal == NotFound(what="listener", id="7")
    assert stage.told() == []


async def test_a_key_has_its_answer_when_the_same_again_could_not_be_done_just_now(stage: Stage) -> None:
    said = await stage.say("hello", key="k")
    stage.hushed = "hello"
    assert await stage.answer("hello", key="k") == said
    stage.hushed = "goodbye"
    assert await stage.answer("goodbye", key="k") == KeyReused(key="k")
    assert stage.told() == ["hello"]


async def test_keys_are_known_to_a_new_process_and_refusals_too(stage: Stage, app_dsn: str) -> None:
    before = [await stage.answer(text, key=f"k{text}") for text in ("hello", "")]
    async with stage.elsewhere(app_dsn) as other:
        assert [await other.answer(text, key=f"k{text}") for text in ("hello", "")] == before
        assert await other.answer("goodbye", key="khello") == KeyReused(key="khello")
    assert stage.told() == ["hello"]


async def test_a_key_that_two_processes_meet_at_is_used_once(stage: Stage, app_dsn: str) -> None:
    async with stage.elsewhere(app_dsn) as other:
        for number in range(15):
            answers = await asyncio.gather(*(each.say(f"word {number}", key=f"k{number}") for each in (stage, other)))
            assert answers[0] == answers[1]
    assert stage.told() == [f"word {number}" for number in range(15)]
    assert len(stage.journal()) == 15


async def test_two_processes_that_share_keys_in_other_orders_never_wait_in_a_circle(stage: Stage, app_dsn: str) -> None:
    names = [f"k{number}" for number in range(30)]
    async with stage.elsewhere(app_dsn) as other:
        here = [stage.say(name, key=name) for name in names]
        there = [other.say(name, key=name) for name in reversed(names)]
        answers = await asyncio.gather(*here, *there)
    assert answers[:30] == answers[:-31:-1]
    assert sorted(stage.told()) == sorted(names)


async def test_what_holds_a_secret_is_kept_under_no_key(stage: Stage) -> None:
    said = [await stage.say("secret", key="k", kind=stage.kind("test.whisper", kept=False)) for _ in range(2)]
    assert stage.asked("SELECT count(*) FROM command_key") == [0]
    assert said[0].id == said[1].id


async def test_a_key_is_forgotten_when_it_is_old(stage: Stage) -> None:
    await stage.say("hello", key="k")
    async with stage.database.writing() as tx:
        assert await keys.forget(tx, clock.now() - timedelta(hours=1)) == 0
        assert await keys.forget(tx, clock.now() + timedelta(hours=1)) == 1
    await stage.say("hello", key="k")
    assert stage.told() == ["hello"] * 2


async def test_items_that_come_together_get_ids_from_their_key_and_their_place(stage: Stage, app_dsn: str) -> None:
    commands = [Say(text) for text in ("a", "b", "b")]

    async def said(where: Stage, key: str | None) -> list[UUID]:
        answers = await where.door.submit(stage.kind(), commands, caller=ANN, book=1, key=key)
        return [each.id for each in answers if isinstance(each, Said)]

    first = await said(stage, "k")
    assert len(set(first)) == 3
    async with stage.elsewhere(app_dsn) as other:
        assert await said(other, "k") == first
    assert not set(first) & {*await said(stage, "l"), *await said(stage, None)}


async def test_an_id_that_the_caller_chose_is_the_one_that_is_made(stage: Stage) -> None:
    chosen = ids.fresh()
    answers = await stage.door.submit(stage.kind(), [Say("hello", chosen), Say("again")], caller=ANN, book=1, key="k")
    assert [each.id == chosen for each in answers if isinstance(each, Said)] == [True, False]


# Poison --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", ["poison", "bug"])
async def test_a_command_that_cannot_be_carried_out_spoils_none_of_its_neighbours(stage: Stage, poison: str) -> None:
    texts = ["one", "two", poison, "four", "five", poison, "seven"]
    with capture_logs() as logged:
        answers = await asyncio.gather(*(stage.answer(text, key=f"k{place}") for place, text in enumerate(texts)))
    assert [each["reference"] for each in logged] == [
        each.values["reference"] for each in answers if isinstance(each, Failed)
    ]
    assert [isinstance(each, Failed) for each in answers] == [text == poison for text in texts]
    assert stage.told() == [text for text in texts if text != poison]
    assert len(stage.journal()) == len(set(stage.journal_ids()))


@pytest.mark.parametrize("poison", ["poison", "bug"])
async def test_a_poisonous_item_among_many_of_one_caller_is_the_only_one_that_fails(stage: Stage, poison: str) -> None:
    texts = ["one", "two", poison, "four", "five"]
    with capture_logs():
        answers = await stage.door.submit(stage.kind(), [Say(text) for text in texts], caller=ANN, book=1)
    assert [getattr(each, "text", None) for each in answers] == ["one", "two", None, "four", "five"]
    assert isinstance(answers[2], Failed)
    assert stage.told() == ["one", "two", "four", "five"]


async def test_a_key_whose_command_failed_may_be_used_again(stage: Stage) -> None:
    with capture_logs():
        assert isinstance(await stage.answer("bug", key="k"), Failed)
    stage.bug = None
    assert (await stage.say("bug", key="k")).text == "bug"


# What passes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "57014", "23505", "CH001"])
async def test_a_collision_is_tried_again_and_nobody_hears_of_it(stage: Stage, state: str) -> None:
    stage.collisions, stage.state = 3, state
    assert [each.text for each in await asyncio.gather(*(stage.say(text) for text in "abc"))] == ["a", "b", "c"]
    assert sorted(stage.told()) == ["a", "b", "c"]


async def test_a_collision_that_never_ends_is_said_to_be_busy(stage: Stage) -> None:
    stage.collisions, stage.state = 1_000, "40001"
    answer = await stage.answer("hello", key="k")
    assert isinstance(answer, Busy)
    assert answer.retryable
    stage.collisions = 0
    assert (await stage.say("hello", key="k")).text == "hello"
    assert stage.told() == ["hello"]


# Callers who go away -------------------------------------------------------------------------------------------------


async def test_a_caller_who_goes_away_leaves_the_transaction_and_its_neighbours_alone(stage: Stage) -> None:
    stage.open.clear()
    leaving, staying = (asyncio.create_task(stage.say(text)) for text in ("leaving", "staying"))
    await stage.reached.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    stage.open.set()
    assert (await staying).text == "staying"
    assert stage.told() == ["leaving", "staying"]


async def test_a_caller_who_went_away_and_asks_again_gets_what_was_done(stage: Stage) -> None:
    stage.open.clear()
    leaving = await stage.begun("hello", key="k")
    leaving.cancel()
    again = await stage.begun("hello", key="k")
    stage.open.set()
    said = await again
    await stage.door.close()
    assert stage.told() == ["hello"]
    assert stage.asked("SELECT id FROM told") == [said.id]


# Lost connections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("losses", [1, 4])
async def test_a_connection_lost_in_the_middle_is_nothing_to_the_callers(stage: Stage, losses: int) -> None:
    stage.losses = losses
    texts = [f"word {number}" for number in range(20)]
    answers = await asyncio.gather(*(stage.say(text, key=text) for text in texts))
    assert [each.text for each in answers] == texts
    assert sorted(stage.told()) == sorted(texts)
    assert len(stage.batches) > losses


@pytest.mark.parametrize("losses", [1, 4])
async def test_a_commit_whose_answer_was_lost_is_not_done_again(stage: Stage, app_dsn: str, losses: int) -> None:
    async with stage.wired(app_dsn) as (far, wire):
        await far.say("before")
        wire.commits_to_lose = losses
        texts = [f"word {number}" for number in range(20)]
        answers = await asyncio.gather(*(far.say(text, key=text) for text in texts), far.say("keyless"))
        assert [each.text for each in answers] == [*texts, "keyless"]
        assert wire.commits_to_lose == 0
    assert sorted(stage.told()) == sorted(["before", *texts, "keyless"])
    assert len(stage.journal_ids()) == len(stage.told())


async def test_a_database_that_stays_away_is_told_to_all_who_wait_after_the_same_few_tries(stage: Stage) -> None:
    stage.losses = 1_000_000
    answers = await stage.door.submit(stage.kind(), [Say(text) for text in "ab"], caller=ANN, book=1)
    assert [type(each) for each in answers] == [Busy] * 2
    assert stage.told() == []
    assert len(stage.batches) == TRIES_MAX


async def test_the_run_of_a_batch_is_given_the_time_and_who_asked(stage: Stage) -> None:
    seen: list[tuple[datetime, UUID, str, int]] = []

    async def run(tx: Tx, asked: Sequence[Asked[Say]], at: datetime) -> list[Said | Refusal]:
        seen.extend((at, each.by, each.name, tx.book) for each in asked)
        return await stage.run(tx, asked, at)

    earliest = clock.now()
    await stage.say("hello", kind=stage.kind(run=run))
    assert seen[0][1:] == (ANN.id, "Ann", 1)
    assert earliest <= seen[0][0] <= clock.now()


async def test_a_batch_that_fails_leaves_nothing_behind(stage: Stage, owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute("REVOKE INSERT ON clearhouse.journal FROM clearhouse_writer")
    with capture_logs():
        assert isinstance(await stage.answer("hello", key="k"), Failed)
    assert stage.told() == []
    assert stage.asked("SELECT count(*) FROM command_key") == [0]


# Ends ----------------------------------------------------------------------------------------------------------------


async def test_who_waits_for_a_batch_that_is_cancelled_is_told_and_nothing_was_done(stage: Stage) -> None:
    stage.open.clear()
    saying = await stage.begun("hello")
    for task in list(stage.door._tasks):
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saying
    stage.open.set()
    assert (await stage.say("again")).text == "again"
    assert stage.told() == ["again"]


async def test_what_is_there_already_whatever_is_tried_is_asked_for_again_later(stage: Stage) -> None:
    stage.state, stage.collisions = "23505", TRIES_MAX
    assert await stage.answer("hello") == Busy()
    assert len(stage.batches) == TRIES_MAX
    assert stage.told() == []
