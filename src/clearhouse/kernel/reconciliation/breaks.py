"""Breaks: items that a run left open, each with why, whose, how old, and what was said about it.

open ──→ closed ──→ open …      closed by a match, whoever made it; open again when that is undone
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Literal, TypeVar
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.approvals.approval import Subject
from clearhouse.kernel.approvals.decisions import Reason as Words
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.reconciliation import rules
from clearhouse.kernel.reconciliation.items import Row as ItemRow
from clearhouse.kernel.reconciliation.items import Shown, Side
from clearhouse.kernel.reconciliation.posting import match_ref
from clearhouse.refusals import Kind, Refusal

SUBJECT = "reconciliation.break"
sql = Statements.of("clearhouse.kernel.reconciliation", "breaks.sql")

BreakRef = Annotated[str, msgspec.Meta(max_length=30, examples=["brk_0000000000000000000000002A"])]
State = Literal["open", "closed"]
Action = Literal["write_off", "suspend", "accept", "match"]
_NUMBER_MAX = 1 << 63


class Reason(Enum):
    """Why an item is open: the first four are found, the others said by people, the last is left by an undo."""

    MISSING_OURS = "missing_ours"
    MISSING_THEIRS = "missing_theirs"
    AMOUNT_DIFFERS = "amount_differs"
    TOO_MANY = "too_many"
    TIMING = "timing"
    FEE = "fee"
    OUR_MISTAKE = "our_mistake"
    THEIR_MISTAKE = "their_mistake"
    DUPLICATE = "duplicate"
    UNDONE = "undone"


class BreakNotFound(Refusal):
    """There is no break {id} here."""

    code = "break_not_found"
    kind = Kind.UNKNOWN


class BreakClosed(Refusal):
    """Break {id} is closed; what closed it can be undone."""

    code = "break_closed"
    kind = Kind.CONFLICT


class OwnerUnknown(Refusal):
    """{owner} is nobody in this book who could own a break."""

    code = "owner_unknown"
    kind = Kind.REFUSED


class Assign(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Give a break to somebody, or to nobody."""

    broken: BreakRef
    owner: Annotated[str, msgspec.Meta(max_length=30)] | None = None


class MakeRemark(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Say something about a break, and why it is there, if that is known now."""

    broken: BreakRef
    remark: Words
    reason: Reason | None = None


class Said(msgspec.Struct, frozen=True):
    """What somebody said about a break."""

    by: str
    at: datetime
    remark: str


class Proposal(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a break is to be resolved, once it is approved: `id` tells one proposal from the same again."""

    id: str
    action: Action
    breaks: list[str]
    difference: str
    currency: str
    by: str
    at: datetime
    remark: str = ""


class Break(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item that a run left open, and what has become of it."""

    id: str
    rule_set: str
    state: State
    reason: Reason
    item: Shown
    opened_at: datetime
    owner: str | None = None
    closed_at: datetime | None = None
    match: str | None = None
    proposal: Proposal | None = None
    approval: str | None = None
    remarks: list[Said] = []


class Filter(msgspec.Struct, frozen=True):
    """Which breaks are meant: by state, owner, reason and rule set, of items of a day or before."""

    state: State = "open"
    owner: str | None = None
    reason: Reason | None = None
    rule_set: str | None = None
    until: date = date.max


@dataclass(frozen=True, slots=True)
class Row:
    """A break as it is kept, with its item and the match that closed it."""

    item: int
    name: str
    day: date
    state: State
    reason: str
    owner: UUID | None
    opened_at: datetime
    closed_at: datetime | None
    proposal: str | None
    approval: UUID | None
    side: Side
    id: str
    asset: str
    exponent: int
    amount: int
    reference: str | None
    end_to_end: str | None
    text: str | None
    batch: UUID | None
    number: int | None

    @property
    def ref(self) -> str:
        """Return what the break is called outside."""
        return break_ref(self.item)

    @property
    def proposed(self) -> Proposal | None:
        """Return how it is to be resolved, if somebody said so."""
        return None if self.proposal is None else _proposals.decode(self.proposal)

    def shown(self, remarks: Sequence[Said] = ()) -> Break:
        """Return it as it is shown."""
        item = ItemRow(
            self.item, self.name, self.side, self.id, self.asset, self.exponent, self.amount, self.day, self.reference,
            self.end_to_end, self.text,
        )  # fmt: skip
        return Break(
            id=self.ref, rule_set=self.name, state=self.state, reason=Reason(self.reason), item=item.shown,
            opened_at=self.opened_at, owner=None if self.owner is None else ids.text("prn", self.owner),
            closed_at=self.closed_at,
            match=None if self.batch is None or self.number is None else match_ref(self.batch, self.number),
            proposal=self.proposed, approval=None if self.approval is None else ids.text("apr", self.approval),
            remarks=list(remarks),
        )  # fmt: skip


_proposals = msgspec.json.Decoder(Proposal)


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


@dataclass(frozen=True, slots=True)
class _Remark:
    item: int
    by: UUID
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


def break_ref(item: int) -> str:
    """Return what the break of an item is called outside."""
    return ids.text("brk", UUID(int=item))


def item_of(ref: str) -> int:
    """Return the item of a break, or one that nothing has."""
    number = readable("brk", ref).int
    return number if number < _NUMBER_MAX else 0


def subject(item: int) -> Subject:
    """Return what is approved when a break is resolved."""
    return Subject(SUBJECT, break_ref(item))


Command = TypeVar("Command", Assign, MakeRemark)


async def assign(tx: Tx, asked: Sequence[Asked[Assign]], at: datetime) -> list[Break | Refusal]:  # noqa: ARG001 — a command's shape
    """Give breaks to people, in order."""
    held = await hold(tx, [each.command.broken for each in asked])
    answers: list[Break | Refusal] = []
    for each in asked:
        owner = None if each.command.owner is None else readable("prn", each.command.owner)
        known = owner is None or await tx.row(sql["is_of_book"], _Id, book=tx.book, id=owner) is not None
        row = open_one(held, each.command.broken)
        if not isinstance(row, Row):
            answers.append(row)
        elif not known:
            answers.append(OwnerUnknown(owner=each.command.owner or ""))
        else:
            await tx.do(sql["assign"], book=tx.book, item=row.item, owner=owner)
            answers.append(await find(tx, row.ref))
    return answers


async def remark(tx: Tx, asked: Sequence[Asked[MakeRemark]], at: datetime) -> list[Break | Refusal]:
    """Say something about breaks, in order; about closed ones, too, as long as the reason stays."""
    held = await hold(tx, [each.command.broken for each in asked])
    answers: list[Break | Refusal] = []
    for each in asked:
        row = held.get(item_of(each.command.broken))
        if row is None:
            answers.append(BreakNotFound(id=each.command.broken))
        elif each.command.reason is not None and row.state != "open":
            answers.append(BreakClosed(id=each.command.broken))
        else:
            await tx.do(sql["add_remark"], book=tx.book, item=row.item, by=each.by, text=each.command.remark, at=at)
            if each.command.reason is not None:
                await tx.do(sql["explain"], book=tx.book, item=row.item, reason=each.command.reason.value)
            answers.append(await find(tx, row.ref))
    return answers


async def hold(tx: Tx, refs: Iterable[str]) -> dict[int, Row]:
    """Hold the rule sets that breaks belong to, and return the breaks as they are from then on."""
    asked = list(refs)
    await rules.lock(tx, await names(tx, asked))
    return await rows(tx, sorted({item_of(each) for each in asked}))


async def names(tx: Tx, refs: Iterable[str]) -> list[str]:
    """Return which rule sets breaks belong to."""
    wanted = sorted({item_of(each) for each in refs})
    return [each.name for each in await tx.rows(sql["names"], _Name, book=tx.book, items=wanted)]


async def rows(tx: Tx, wanted: Sequence[int]) -> dict[int, Row]:
    """Return breaks by their items."""
    return {row.item: row for row in await tx.rows(sql["breaks"], Row, book=tx.book, items=list(wanted))}


def open_one(held: Mapping[int, Row], ref: str) -> Row | Refusal:
    """Return a break if it is open."""
    row = held.get(item_of(ref))
    if row is None:
        return BreakNotFound(id=ref)
    return row if row.state == "open" else BreakClosed(id=ref)


async def find(tx: Tx, ref: str) -> Break:
    """Return a break with what was said about it."""
    found = await rows(tx, [item_of(ref)])
    if not found:
        raise BreakNotFound(id=ref)
    return (await _with_remarks(tx, list(found.values())))[0]


async def listed(tx: Tx, which: Filter, *, after: Break | None = None, most: int = 100) -> list[Break]:
    """Return breaks, those of the oldest items first."""
    day, item = (date.min, 0) if after is None else (after.item.date, item_of(after.id))
    reason = None if which.reason is None else which.reason.value
    until = which.until
    owner = {} if which.owner is None else {"owner": readable("prn", which.owner)}
    found = await tx.rows(
        sql["page_of_owner" if owner else "page"], Row, book=tx.book, state=which.state, day=day, item=item, until=until,
        reason=reason, name=which.rule_set, most=most, **owner,
    )  # fmt: skip
    return await _with_remarks(tx, found)


def before(today: date, days: int) -> date:
    """Return the day that is so many days before another, as far as there are any."""
    return today - timedelta(days=min(days, (today - date.min).days))


async def _with_remarks(tx: Tx, found: Sequence[Row]) -> list[Break]:
    said: defaultdict[int, list[Said]] = defaultdict(list)
    for each in await tx.rows(sql["remarks"], _Remark, book=tx.book, items=[row.item for row in found]):
        said[each.item].append(Said(ids.text("prn", each.by), each.at, each.text))
    return [row.shown(said[row.item]) for row in found]
