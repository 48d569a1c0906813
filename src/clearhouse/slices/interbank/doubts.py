"""Doubts: a word that does not come in time is no failure. The settlement is IN_DOUBT, and its bank is asked by its id.

Promise: what was sent is never given up by a timer; what the bank never got is sent again, under the same id and by the
same rail, unless somebody has asked to give it up: then nothing is sent, and that the bank does not
know it is noted; when asking was of no use for long, it is set aside in doubt, its lock still pinned.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.pipelines.stages import BackOff, Calls, Failed, Heard, Moves, NotYet, Stage, Unheard
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import engines, rows
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.channel import State as There
from clearhouse.slices.interbank.channel import Status
from clearhouse.slices.interbank.rows import Row
from clearhouse.slices.interbank.settlement import RESOLVE, State
from clearhouse.slices.interbank.turns import LEASE_SECONDS, Outgoing, note, order
from clearhouse.slices.interbank.world import known

# About a week of asking: every ten minutes in the end.
ASKING = BackOff(first_seconds=10, longest_seconds=600, tries=1_000)
UNKNOWN = "the bank does not say yet what became of it"


class Denied(msgspec.Struct, frozen=True):
    """The bank does not know what is being given up, and was not sent it again; or pays no more of it than it `paid`."""

    paid: Word | None = None


class _Id(msgspec.Struct, frozen=True):
    id: UUID


async def doubt(tx: Tx, own: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
    """Say of those whose time for a word is over that nobody knows."""
    there = await rows.locked(tx, own)
    for row in there.values():
        row.become(State.IN_DOUBT, "DOUBT", next_at=at, reason="no_word_in_time", remark=row.error)
    await rows.write(tx, there.values(), at)
    tx.wake(RESOLVE)
    rows.journal(tx, there.values(), kind="interbank.overdue", at=at)
    return {}


async def prepare(tx: Tx, own: Sequence[UUID], at: datetime) -> Mapping[UUID, Outgoing]:
    """Return what the bank is asked about."""
    world, line = await known(tx), engines.line(tx.database, tx.book)
    there = await rows.locked(tx, own)
    given_up = await _given_up(tx, [row for row in there.values() if row.release is not None])
    until = at + timedelta(seconds=LEASE_SECONDS)
    return {row.id: Outgoing(line, order(world, row), until, row.id in given_up) for row in there.values()}


async def _given_up(tx: Tx, wanted: Sequence[Row]) -> set[UUID]:
    """Return which are to be given up, as far as people have said; where they have refused, all is as it was before."""
    if not wanted:
        return set()
    found = await tx.rows(rows.sql["standing_releases"], _Id, book=tx.book, ids=array([row.release for row in wanted]))
    standing = {each.id for each in found}
    tx.later(rows.sql["take_up_again"], book=tx.book, ids=array([row.id for row in wanted if row.release not in standing]))
    return {row.id for row in wanted if row.release in standing}


async def ask(doubtful: Sequence[Outgoing]) -> list[Word | Denied | Unheard | None]:
    """Ask the bank; what it never got it is sent again."""
    line = doubtful[0].line
    orders = {each.order.id: each.order for each in doubtful}
    try:
        await line.mirror(each.account for each in orders.values())
        said = await line.channel.ask(list(orders))
    except Refusal as refusal:
        return [Unheard(str(refusal))] * len(doubtful)
    words: dict[UUID, Word | Denied | None] = {each.id: _word(each) for each in said}
    missing = [each.id for each in said if each.state is There.UNKNOWN]
    given_up = {each.order.id for each in doubtful if each.given_up}
    words |= {each.id: Denied(_word(each)) for each in said if each.id in given_up and _is_denied(each)}
    again = [orders[each] for each in missing if each not in given_up]
    if again:
        words |= {word.order: word for word in await line.pay(again, until=doubtful[0].until)}
    return [words.get(each.order.id) for each in doubtful]


async def resolve(tx: Tx, heard: Sequence[Heard[Outgoing, Word | Denied | None]], at: datetime) -> Mapping[UUID, NotYet]:
    """Write down what the bank knows, and ask again later about what it does not."""
    said = {each.id: each.answer for each in heard}
    known_by_now = {own: word for own, word in said.items() if isinstance(word, Word) and word.said in _ENDS}
    denied = {own: word.paid for own, word in said.items() if isinstance(word, Denied)}
    known_by_now |= {own: paid for own, paid in denied.items() if paid is not None}
    still = dict.fromkeys(said.keys() - known_by_now.keys(), Failed(UNKNOWN))
    unmoved: Mapping[UUID, NotYet] = await note(tx, known_by_now, at) if known_by_now else {}
    if denied:
        tx.later(rows.sql["note_denied"], book=tx.book, ids=array(denied), at=at)
    return {**still, **unmoved}


_ENDS = ("confirmed", "rejected", "returned")


def _is_denied(status: Status) -> bool:
    """Tell whether a bank says that no more will leave: it does not know an order, or has ended one that it paid in part."""
    return status.state is There.UNKNOWN or status.final


def _word(status: Status) -> Word | None:
    if status.state in {There.PARTLY, There.CONFIRMED}:
        return Word(status.id, "confirmed", status.confirmed)
    if status.state is There.REJECTED:
        return Word(status.id, "rejected", status.confirmed, status.code, status.reason)
    if status.state is There.RETURNED:
        return Word(status.id, "returned", status.returned, status.code, status.reason)
    return None  # it is on its way there, or was never sent: nothing is known that was not before


def _overdue(name: str, state: State, about: str) -> Stage:
    return Stage(name, "interbank", "settlement_transactions", state.value, Moves(doubt), about=about, prefix="stl")


STAGES = (
    _overdue("interbank.unanswered", State.EXECUTING, "what was sent and not answered in time is in doubt"),
    _overdue("interbank.unconfirmed", State.CONFIRMING, "what was not confirmed in time is in doubt"),
    Stage(
        RESOLVE, "banks.asked", "settlement_transactions", State.IN_DOUBT.value,
        Calls(prepare, ask, resolve, lease_seconds=LEASE_SECONDS), back_off=ASKING,
        about="the bank is asked about what is in doubt", prefix="stl",
    ),
)  # fmt: skip
