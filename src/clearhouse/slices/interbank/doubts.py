"""Doubts: a word that does not come in time is no failure. The settlement is IN_DOUBT, and its bank is asked by its id.

Promise: what was sent is never given up by a timer; what the bank never got is sent again, under the same id and by the
same rail; when asking was of no use for long, it is set aside in doubt, its lock still pinned.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.pipelines.stages import BackOff, Calls, Failed, Heard, Moves, NotYet, Stage, Unheard
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import engines, rows
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.channel import State as There
from clearhouse.slices.interbank.channel import Status
from clearhouse.slices.interbank.settlement import RESOLVE, State
from clearhouse.slices.interbank.turns import Outgoing, note, order
from clearhouse.slices.interbank.world import known

# About a week of asking: every ten minutes in the end.
ASKING = BackOff(first_seconds=10, longest_seconds=600, tries=1_000)
UNKNOWN = "the bank does not say yet what became of it"


async def doubt(tx: Tx, own: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
    """Say of those whose time for a word is over that nobody knows."""
    there = await rows.locked(tx, own)
    for row in there.values():
        row.become(State.IN_DOUBT, "DOUBT", next_at=at, reason="no_word_in_time", remark=row.error)
    await rows.write(tx, there.values(), at)
    tx.wake(RESOLVE)
    rows.journal(tx, there.values(), kind="interbank.overdue", at=at)
    return {}


async def prepare(tx: Tx, own: Sequence[UUID], _: datetime) -> Mapping[UUID, Outgoing]:
    """Return what the bank is asked about."""
    world, line = await known(tx), engines.line(tx.database, tx.book)
    there = await rows.locked(tx, own)
    return {row.id: Outgoing(line, order(world, row)) for row in there.values()}


async def ask(doubtful: Sequence[Outgoing]) -> list[Word | Unheard | None]:
    """Ask the bank; what it never got it is sent again."""
    line = doubtful[0].line
    orders = {each.order.id: each.order for each in doubtful}
    try:
        await line.mirror(each.account for each in orders.values())
        said = await line.channel.ask(list(orders))
    except Refusal as refusal:
        return [Unheard(str(refusal))] * len(doubtful)
    words = {each.id: _word(each) for each in said}
    missing = [each.id for each in said if each.state is There.UNKNOWN]
    if missing:
        words |= {word.order: word for word in await line.pay([orders[each] for each in missing])}
    return [words.get(each.order.id) for each in doubtful]


async def resolve(tx: Tx, heard: Sequence[Heard[Outgoing, Word | None]], at: datetime) -> Mapping[UUID, NotYet]:
    """Write down what the bank knows, and ask again later about what it does not."""
    said = {each.id: each.answer for each in heard}
    known_by_now = {own: word for own, word in said.items() if word is not None and word.said in {*_ENDS}}
    still = dict.fromkeys(said.keys() - known_by_now.keys(), Failed(UNKNOWN))
    return {**still, **(await note(tx, known_by_now, at) if known_by_now else {})}


_ENDS = ("confirmed", "rejected", "returned")


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
        RESOLVE, "banks.asked", "settlement_transactions", State.IN_DOUBT.value, Calls(prepare, ask, resolve),
        back_off=ASKING, about="the bank is asked about what is in doubt", prefix="stl",
    ),
)  # fmt: skip
