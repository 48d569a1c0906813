"""The engine: what carries settlements on by itself. One sender, one listener and one clock for each book.

    sender     takes whose turn it is, says so, sends, and hands the bank's word to the listener
    listener   reads what the bank says by itself, and writes down every word, in batches
    clock      opens windows, acts on reviews, retries, finds what is overdue, and asks about what is in doubt

Promise: it can be killed between any two lines. What was sent is in the rows before it is sent; a word that was not written
down is asked for again; two engines at once take different settlements and hear the same word once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from clearhouse import clock
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.faults import DatabaseFault
from clearhouse.kernel.journal.writing import SYSTEM
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.channel import (
    BATCH_MAX,
    Channel,
    NoAnswer,
    Notice,
    NotSent,
    NotTaken,
    PaymentOrder,
    Said,
    Status,
)
from clearhouse.slices.interbank.channel import State as There
from clearhouse.slices.interbank.reconciling import SCOPE, compare
from clearhouse.slices.interbank.rows import sql
from clearhouse.slices.interbank.turns import Initiate
from clearhouse.slices.interbank.waking import Reason, Wake, is_due

ORDERS_MAX = 1_000
SENDING_MAX = 4
IDLE_SECONDS = 0.05
CLOCK_SECONDS = 0.5
RECONCILE_SECONDS = 6 * 3600.0
CHANNEL = "bank"
# What is looked at how often, in seconds: retries and expired locks in the document's periods, all else at once.
PERIODS: dict[Reason, float] = {
    "waiting": 0.5,
    "reviewed": 0.5,
    "overdue": 0.5,
    "doubt": 0.5,
    "retry": 300.0,
    "unlocked": 600.0,
}
_SAID = {Said.ACCEPTED: "accepted", Said.REFUSED: "rejected", Said.SILENT: "silent"}
_log = structlog.get_logger(__name__)
Command = TypeVar("Command")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Cursor:
    cursor: str


@dataclass(slots=True)
class Engine:
    """One book's engine: a door for what it decides, and the channel to the banks."""

    door: Door
    book: int
    channel: Channel
    words: list[Word] = field(default_factory=list[Word])
    sending: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    cursor: str | None = None

    @property
    def caller(self) -> Caller:
        """Return the engine as it asks its own door."""
        return Caller(
            SYSTEM, "interbank engine", books={"": self.book}, scopes={self.book: frozenset({commands.ENGINE, SCOPE})}
        )

    async def run(self) -> None:
        """Carry settlements on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_forever(self.send, IDLE_SECONDS))
            tasks.create_task(_forever(self.listen, IDLE_SECONDS))
            for reason, seconds in PERIODS.items():
                tasks.create_task(_forever(lambda reason=reason: self.wake(reason), seconds))
            tasks.create_task(_forever(self.reconcile, RECONCILE_SECONDS))

    async def send(self) -> int:
        """Send the next of those whose turn it is; several batches may be under way."""
        while len(self.sending) >= SENDING_MAX:
            await asyncio.wait(self.sending, return_when=asyncio.FIRST_COMPLETED)
        if not await self._is_due("unlocked"):
            return 0
        orders = (await self._submit(commands.INITIATE, [Initiate(ORDERS_MAX)]))[0].orders
        if orders:
            task = asyncio.create_task(self._sent(orders))
            self.sending.add(task)
            task.add_done_callback(self.sending.discard)
        return len(orders)

    async def _sent(self, orders: Sequence[PaymentOrder]) -> None:
        try:
            self.words += await self._ask_to_pay(orders)
        except Exception:  # noqa: BLE001 — whatever it is, the rows say EXECUTING, and the bank will be asked
            _log.exception("orders may have been sent", count=len(orders))

    async def _ask_to_pay(self, orders: Sequence[PaymentOrder]) -> list[Word]:
        """Send orders, and return a word on each. What the bank does not take as a batch it is given in halves."""
        try:
            acks = await self.channel.send(orders)
        except NotSent as refusal:
            return [Word(each.id, "not_sent", code=refusal.code, reason=str(refusal)) for each in orders]
        except NoAnswer as refusal:
            return [Word(each.id, "silent", code=refusal.code, reason=str(refusal)) for each in orders]
        except NotTaken as refusal:
            if len(orders) == 1:
                return [Word(orders[0].id, "not_sent", code=refusal.code, reason=str(refusal))]
            middle = len(orders) // 2
            return await self._ask_to_pay(orders[:middle]) + await self._ask_to_pay(orders[middle:])
        return [Word(ack.id, _SAID[ack.said], code=ack.code, reason=ack.reason) for ack in acks]  # type: ignore[arg-type] - a word of the table

    async def listen(self) -> int:
        """Hear what was answered, and what the bank says by itself; return how many words that were."""
        cursor = await self._cursor()
        mine, self.words = self.words, []
        try:
            news = await self.channel.news(after=cursor, most=BATCH_MAX)
        except (NotSent, NoAnswer, NotTaken) as refusal:
            _log.warning("the bank is not heard", reason=str(refusal))
            await self.hear(mine)
            return len(mine)
        told = [word for notice in news.notices if (word := _told(notice)) is not None]
        ended = {word.order for word in told}
        heard = [word for word in mine if word.said != "accepted" or word.order not in ended]
        await self.hear([*heard, *told])
        if news.cursor != cursor:
            await self._keep(news.cursor)
        return len(heard) + len(told)

    async def hear(self, words: Sequence[Word]) -> None:
        """Write words down."""
        if words:
            await self._submit(commands.HEAR, words)

    async def wake(self, reason: Reason) -> int:
        """Do what is due for a reason, and ask the bank about what is in doubt."""
        if not await self._is_due(reason):
            return 0
        found = (await self._submit(commands.WAKE, [Wake(reason, ORDERS_MAX)]))[0]
        if found.orders:
            await self._resolve(found.orders)
        return found.touched

    async def reconcile(self) -> int:
        """Compare every nostro with what its bank says; whatever that comes to, it is done for now."""
        await compare(self.door, self.channel, caller=self.caller, book=self.book)
        return 0

    async def _resolve(self, orders: Sequence[PaymentOrder]) -> None:
        """Ask the bank; what it never got it is sent again, under the same id and by the same rail."""
        try:
            said = await self.channel.ask([each.id for each in orders])
        except (NotSent, NoAnswer, NotTaken) as refusal:
            _log.warning("the bank does not say", reason=str(refusal))
            return
        await self.hear([word for each in said if (word := _status(each)) is not None])
        missing = {each.id for each in said if each.state is There.UNKNOWN}
        if missing:
            answers = await self._ask_to_pay([each for each in orders if each.id in missing])
            await self.hear([word for word in answers if word.said in {"accepted", "rejected"}])

    async def _is_due(self, reason: Reason) -> bool:
        async with self.door.database.writing(book=self.book) as tx:
            return await is_due(tx, reason, clock.now())

    async def _cursor(self) -> str:
        if self.cursor is None:
            async with self.door.database.writing(book=self.book) as tx:
                found = await tx.row(sql["cursor"], _Cursor, book=self.book, channel=CHANNEL)
            self.cursor = "" if found is None else found.cursor
        return self.cursor

    async def _keep(self, cursor: str) -> None:
        async with self.door.database.writing(book=self.book) as tx:
            await tx.do(sql["keep_cursor"], book=self.book, channel=CHANNEL, cursor=cursor, at=clock.now())
        self.cursor = cursor

    async def _submit(self, kind: Kind[Command, Answer], asked: Sequence[Command]) -> list[Answer]:
        answers = await self.door.submit(kind, asked, caller=self.caller, book=self.book)
        found: list[Answer] = []
        for answer in answers:
            if isinstance(answer, Refusal):
                _log.warning("the engine was refused", kind=kind.name, reason=str(answer))
                if len(asked) == 1:
                    raise answer
            else:
                found.append(answer)
        return found


def _told(notice: Notice) -> Word | None:
    """Return what a notice says; a bank's PARTLY and CONFIRMED are both: so much has left."""
    if notice.state in {There.PARTLY, There.CONFIRMED}:
        return Word(notice.id, "confirmed", notice.total)
    if notice.state is There.REJECTED:
        return Word(notice.id, "rejected", notice.total, notice.code, notice.reason)
    if notice.state is There.RETURNED:
        return Word(notice.id, "returned", notice.total, notice.code, notice.reason)
    return None


def _status(status: Status) -> Word | None:
    if status.state in {There.PARTLY, There.CONFIRMED}:
        return Word(status.id, "confirmed", status.confirmed)
    if status.state is There.REJECTED:
        return Word(status.id, "rejected", status.confirmed, status.code, status.reason)
    if status.state is There.RETURNED:
        return Word(status.id, "returned", status.returned, status.code, status.reason)
    return None  # it is on its way there, or was never sent: nothing is known that was not before


async def _forever(do: Callable[[], Awaitable[int]], seconds: float) -> None:
    """Do something until there is nothing to do, and then again after a while."""
    while True:
        try:
            done = await do()
        except (Refusal, DatabaseFault) as fault:
            _log.warning("not done, tried again soon", reason=str(fault))
            done = 0
        if not done:
            await asyncio.sleep(seconds)
