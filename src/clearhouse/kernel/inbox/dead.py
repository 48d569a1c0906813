"""Dead letters: messages that had no effect, with the reason, until somebody decides on each.

States: waiting → due → replayed, or back to waiting with a new reason; waiting → dismissed, and from
there to due as well. A replay is tried by the worker that has the subscription, under a key of its own: the refusal is kept
under the message's first one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.db.arrays import holdable
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.inbox.messages import Message, Subscription
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import SYSTEM, Line
from clearhouse.refusals import Kind as RefusalKind
from clearhouse.refusals import Refusal

PREFIX = "ltr"
LETTERS_MAX = 10_000
BODY_BYTES_MAX = 64 * 1024
TEXT_LENGTH_MAX = 500
_sql = Statements.of("clearhouse.kernel.inbox", "inbox.sql")
LetterRef = Annotated[str, msgspec.Meta(max_length=64, examples=["ltr_01KAHG7R9Q7XKJ8W3M5N2P4T6V"])]
Remark = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00]*$(?!\n)", examples=["the account is open now"])]


class State(StrEnum):
    """Where a dead letter stands."""

    WAITING = "waiting"
    DUE = "due"
    REPLAYED = "replayed"
    DISMISSED = "dismissed"


class LetterNotFound(Refusal):
    """There is no dead letter {id} here."""

    code = "dead_letter_not_found"
    kind = RefusalKind.UNKNOWN


class LetterNotWaiting(Refusal):
    """The dead letter {id} is {state} already."""

    code = "dead_letter_not_waiting"
    kind = RefusalKind.REFUSED


class LetterCut(Refusal):
    """The message of {id} was too long to be kept whole, so it cannot be tried again; have it sent again."""

    code = "dead_letter_cut"
    kind = RefusalKind.REFUSED


class Replay(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Try a dead letter again."""

    letter: LetterRef
    remark: Remark = ""


class Dismiss(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Let a dead letter be; it may still be tried again."""

    letter: LetterRef
    remark: Remark = ""


class Letter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message that had no effect, and why; `body` is what can be read of it as text."""

    id: str
    subscription: str
    message: str
    source: str
    subject: str
    body: str
    length: int
    code: str
    reason: str
    dead_at: datetime
    state: State
    replays: int = 0
    decided_at: datetime | None = None
    decided_by: str | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A dead letter as it is stored."""

    id: UUID
    subscription: str
    message: str
    source: str
    subject: str
    body: bytes
    length: int
    code: str
    reason: str
    dead_at: datetime
    state: State
    replays: int
    decided_at: datetime | None
    decided_by: str | None
    remark: str

    @property
    def letter(self) -> Letter:
        """What a reader sees of it."""
        return Letter(
            ids.text(PREFIX, self.id), self.subscription, self.message, self.source, self.subject,
            self.body.decode(errors="replace"), self.length, self.code, self.reason, self.dead_at, State(self.state),
            self.replays, self.decided_at, self.decided_by, self.remark,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that is to be put aside, and why."""

    message: Message
    refusal: Refusal

    @property
    def reason(self) -> str:
        """The sentence."""
        return _text(str(self.refusal))


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


async def bury(tx: Tx, subscription: Subscription, dead: Sequence[Dead], at: datetime) -> int:
    """Put messages aside, each once however often it comes, say so in the journal, and forget the oldest beyond a limit."""
    known = {_id_of(subscription, each.message): each for each in dead}
    letters = list(known.values())
    buried = await tx.rows(
        _sql["bury"], _Id, book=tx.book, subscription=subscription.name, at=at, ids=list(known),
        messages=[_text(each.message.id) for each in letters], sources=[_text(each.message.source) for each in letters],
        subjects=[_text(each.message.subject) for each in letters],
        bodies=[each.message.body[:BODY_BYTES_MAX] for each in letters],
        lengths=[len(each.message.body) for each in letters],
        codes=[each.refusal.code for each in letters], reasons=[each.reason for each in letters],
    )  # fmt: skip
    if buried:
        lines = [_buried(subscription, each.id, known[each.id]) for each in buried]
        await tx.do(_sql["trim"], book=tx.book, subscription=subscription.name, most=LETTERS_MAX)
        writing.write(tx, lines, book=tx.book, kind="inbox.bury", by=SYSTEM, at=at)
    return len(buried)


def _id_of(subscription: Subscription, message: Message) -> UUID:
    return ids.derived("inbox", subscription.book, subscription.name, message.id, message.body.hex())


def _buried(subscription: Subscription, letter: UUID, dead: Dead) -> Line:
    told = {"subscription": subscription.name, "message": _text(dead.message.id), "code": dead.refusal.code}
    return Line("inbox.dead", ids.text(PREFIX, letter), told)


def _text(text: str) -> str:
    return holdable(text)[:TEXT_LENGTH_MAX]


async def replay(tx: Tx, asked: Sequence[Asked[Replay]], at: datetime) -> list[Letter | Refusal]:
    """Let dead letters be tried again, by whoever has their subscription."""
    return [await _decide(tx, each, State.DUE, at) for each in asked]


async def dismiss(tx: Tx, asked: Sequence[Asked[Dismiss]], at: datetime) -> list[Letter | Refusal]:
    """Let dead letters be."""
    return [await _decide(tx, each, State.DISMISSED, at) for each in asked]


async def _decide(tx: Tx, asked: Asked[Replay] | Asked[Dismiss], state: State, at: datetime) -> Letter | Refusal:
    command = asked.command
    found = await _row(tx, command.letter)
    if found is None:
        return LetterNotFound(id=command.letter)
    if state is State.DUE and found.length > len(found.body):
        return LetterCut(id=command.letter)
    decided = await tx.row(
        _sql["decide"],
        Row,
        book=tx.book,
        id=found.id,
        state=state,
        at=at,
        by=ids.text("prn", asked.by),
        remark=command.remark,
    )
    if decided is None:
        return LetterNotWaiting(id=command.letter, state=found.state)
    return decided.letter


async def find(tx: Tx, letter: str) -> Letter:
    """Return a dead letter."""
    found = await _row(tx, letter)
    if found is None:
        raise LetterNotFound(id=letter)
    return found.letter


async def _row(tx: Tx, letter: str) -> Row | None:
    return await tx.row(_sql["letter"], Row, book=tx.book, id=readable(PREFIX, letter))


async def letters(tx: Tx, *, state: State | None = None, after: Letter | None = None, most: int = 100) -> list[Letter]:
    """Return dead letters, newest first."""
    before: Any = "infinity" if after is None else after.dead_at
    own = ids.NOBODY if after is None else ids.parse(PREFIX, after.id)
    rows = await tx.rows(_sql["letters"], Row, book=tx.book, state=state, before=before, id=own, most=most)
    return [row.letter for row in rows]


async def due(tx: Tx, subscription: Subscription, *, most: int = 100) -> list[Row]:
    """Return what is to be tried again."""
    return await tx.rows(_sql["due"], Row, book=tx.book, subscription=subscription.name, most=most)


async def tried(tx: Tx, row: Row, refusal: Refusal | None, at: datetime) -> None:
    """Say how a try ended, unless somebody else did."""
    dead = Dead(Message(row.message, row.source, row.body), refusal) if refusal is not None else None
    state, event = (State.REPLAYED, "inbox.replayed") if dead is None else (State.WAITING, "inbox.dead_again")
    code, reason = (row.code, row.reason) if dead is None else (dead.refusal.code, dead.reason)
    if await tx.do(_sql["tried"], book=tx.book, id=row.id, replays=row.replays, state=state, code=code, reason=reason):
        line = Line(
            event, ids.text(PREFIX, row.id), {"subscription": row.subscription, "message": row.message, "code": code}
        )
        writing.write(tx, [line], book=tx.book, kind="inbox.replay", by=SYSTEM, at=at)
