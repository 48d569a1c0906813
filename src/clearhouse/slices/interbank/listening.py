"""Listening: what the banks say by themselves is read from where we were, and every word is written down.

A book's row of the news is the only listener there is; whoever sends listens as well, since the answer may be there.
Promise: a word that was not written down is read again; one that cannot be booked keeps no other from it, and its
settlement is set aside with the reason.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from clearhouse import clock
from clearhouse.kernel.commands.submitting import Failed
from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.pipelines.stages import BackOff, Calls, Heard, Later, NotYet, Stage, Unheard
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands, engines, rows
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.channel import BATCH_MAX, Notice, State
from clearhouse.slices.interbank.engines import Line
from clearhouse.slices.interbank.periods import CHANNEL, LISTEN
from clearhouse.slices.interbank.rows import sql
from clearhouse.slices.interbank.settlement import ENDED, of_order

# While a confirmation is waited for, a bank is listened to again after a tenth of the time that it has taken by now.
SHARE = 10
SOON = timedelta(seconds=0.1)
LATER = timedelta(seconds=1)
_ENDED = {each.value for each in ENDED}
_log = structlog.get_logger(__name__)


class _Cursor(msgspec.Struct, frozen=True):
    cursor: str


class _Unconfirmed(msgspec.Struct, frozen=True):
    sent_at: datetime


async def listen(line: Line) -> bool:
    """Hear what a bank has said since it was heard last, and tell whether there may be more."""
    async with line.turn:
        async with line.database.writing(book=line.book) as tx:
            found = await tx.row(sql["cursor"], _Cursor, book=line.book, channel=CHANNEL)
        if found is None:
            return False
        news = await line.channel.news(after=found.cursor, most=BATCH_MAX)
        await hear(line, [word for notice in news.notices if (word := told(notice)) is not None])
        if news.cursor != found.cursor:
            async with line.database.writing(book=line.book) as tx:
                tx.later(sql["keep_cursor"], book=line.book, channel=CHANNEL, cursor=news.cursor, at=clock.now())
        return len(news.notices) >= BATCH_MAX


async def hear(line: Line, words: Sequence[Word]) -> None:
    """Write words down; those that cannot be booked set their settlements aside."""
    if not words:
        return
    heard = await line.door.submit(commands.HEAR, words, caller=line.caller, book=line.book)
    unbooked = [(word, answer) for word, answer in zip(words, heard, strict=True) if isinstance(answer, Refusal)]
    for word, refusal in unbooked:
        _log.warning("a bank's word was refused", order=str(word.order), said=word.said, reason=str(refusal))
        if refusal.retryable:
            raise refusal
    poison = [word for word, refusal in unbooked if isinstance(refusal, Failed)]
    await hear(line, [msgspec.structs.replace(word, said="returned_aside") for word in poison if word.said == "returned"])
    await _set_aside(line, {of_order(word.order)[0]: word for word in poison if word.said != "returned"})


async def _set_aside(line: Line, poison: Mapping[UUID, Word]) -> None:
    """Show that words could not be booked: their settlements are set aside; of those that had ended there is an alert."""
    if not poison:
        return
    at = clock.now()
    errors = texts(f"the bank's word, {word.said} {word.total}, could not be booked" for word in poison.values())
    async with line.database.writing(book=line.book) as tx:
        ended = [row for row in (await rows.locked(tx, poison)).values() if row.state in _ENDED]
        for row in ended:
            row.tell("interbank.alert")
        rows.journal(tx, ended, kind="interbank.hear", at=at)
        tx.later(sql["set_aside"], book=line.book, ids=array(poison), errors=errors)


def told(notice: Notice) -> Word | None:
    """Return what a notice says; a bank's PARTLY and CONFIRMED are both: so much has left."""
    if notice.state in {State.PARTLY, State.CONFIRMED}:
        return Word(notice.id, "confirmed", notice.total)
    if notice.state is State.REJECTED:
        return Word(notice.id, "rejected", notice.total, notice.code, notice.reason)
    if notice.state is State.RETURNED:
        return Word(notice.id, "returned", notice.total, notice.code, notice.reason)
    return None


async def _begin(tx: Tx, own: Sequence[UUID], _: datetime) -> Mapping[UUID, Line]:
    return dict.fromkeys(own, engines.line(tx.database, tx.book))


async def _listen(lines: Sequence[Line]) -> list[bool | Unheard]:
    return [await _one(line) for line in lines]


async def _one(line: Line) -> bool | Unheard:
    try:
        return await listen(line)
    except Refusal as refusal:
        return Unheard(str(refusal))


async def _again(tx: Tx, heard: Sequence[Heard[Line, bool]], at: datetime) -> Mapping[UUID, NotYet]:
    found = await tx.row(sql["newest_unconfirmed"], _Unconfirmed, book=tx.book)
    pause = LATER if found is None else min(LATER, max(SOON, (at - found.sent_at) / SHARE))
    done = [each.id for each in heard if not each.answer]
    tx.later(sql["listen_again"], book=tx.book, ids=array(done), next_at=at + pause)
    return {each.id: Later(at) for each in heard if each.answer}


def soon(tx: Tx, at: datetime) -> None:
    """Let the bank be listened to at once, whenever it would have been: something was sent that it will confirm."""
    tx.later(sql["listen_soon"], book=tx.book, channel=CHANNEL, at=at)
    tx.wake(LISTEN)


STAGE = Stage(
    LISTEN, "banks.asked", "interbank_news", "listening", Calls(_begin, _listen, _again), batch=1,
    back_off=BackOff(longest_seconds=60, tries=2**31 - 1), about="what banks say by themselves is heard", prefix="chn",
    prompt=True,
)  # fmt: skip
