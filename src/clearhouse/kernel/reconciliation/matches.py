"""Matches: items that belong together, found by a rule or by people, and undone again.

Promise: an undo leaves everything as it was: the items are open, what was posted is reversed, the break has its owner, its
reason and its remarks. What closes a break without a counterpart is a match of one side, and is undone like any other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.approvals.requests import Edit
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.reconciliation import breaks, items, posting, rules
from clearhouse.kernel.reconciliation.breaks import BreakRef, Row, subject
from clearhouse.kernel.reconciliation.items import Shown
from clearhouse.kernel.reconciliation.posting import Difference, match_ref
from clearhouse.money import MixedAssets, decimal_text
from clearhouse.refusals import Kind, Refusal

_sql = Statements.of("clearhouse.kernel.reconciliation", "matches.sql")
BREAKS_MAX = 500

MatchRef = Annotated[str, msgspec.Meta(max_length=42, examples=["mat_01KAHG7R9Q7XKJ8W3M5N2P4T6V-1"])]
MatchKind = Literal["rule", "hand", "match", "write_off", "suspend", "accept"]


class MatchNotFound(Refusal):
    """There is no match {id} here."""

    code = "match_not_found"
    kind = Kind.UNKNOWN


class MatchUndone(Refusal):
    """Match {id} is undone already."""

    code = "match_undone"
    kind = Kind.CONFLICT


class OneSideOnly(Refusal):
    """A match by hand takes items of both sides of one rule set."""

    code = "one_side_only"
    kind = Kind.REFUSED


class DoesNotAddUp(Refusal):
    """These items differ by {difference} {currency}; what differs is resolved by two people, so propose it."""

    code = "does_not_add_up"
    kind = Kind.REFUSED


class NotByHand(Refusal):
    """The rule set {name} has nothing matched by one person; propose it."""

    code = "not_by_hand"
    kind = Kind.REFUSED


class MatchByHand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Match these items of both sides, which add up to the same."""

    breaks: Annotated[list[BreakRef], msgspec.Meta(min_length=2, max_length=BREAKS_MAX)]


class UndoMatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Undo a match: its items are open again, and what was posted for it is reversed."""

    match: MatchRef


class Match(msgspec.Struct, frozen=True, omit_defaults=True):
    """Items that belong together. `difference` is ours less theirs, and `transaction` what was posted for it."""

    id: str
    rule_set: str
    kind: MatchKind
    ours: list[Shown]
    theirs: list[Shown]
    difference: str
    currency: str
    at: datetime
    by: str
    rule: int | None = None
    transaction: str | None = None
    undone_at: datetime | None = None
    undone_by: str | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    batch: UUID
    number: int
    name: str
    kind: MatchKind
    rule: int | None
    asset: str
    exponent: int
    difference: int
    is_posted: bool
    ours: list[int]
    theirs: list[int]
    at: datetime
    by: UUID
    undone_at: datetime | None
    undone_by: UUID | None

    @property
    def posted(self) -> Difference:
        return Difference(self.batch, self.number, self.asset, self.exponent, self.difference)


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


async def match_by_hand(tx: Tx, asked: Sequence[Asked[MatchByHand]], at: datetime) -> list[Match | Refusal]:
    """Match what people say belongs together, in order."""
    answers: list[Match | Refusal] = []
    await breaks.hold(tx, [ref for each in asked for ref in each.command.breaks])
    for each in asked:
        try:
            answers.append(await _matched(tx, each, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _matched(tx: Tx, asked: Asked[MatchByHand], at: datetime) -> Match:
    chosen = await open_ones(tx, asked.command.breaks)
    first = chosen[0]
    difference = difference_of(chosen)
    if len({row.side for row in chosen}) == 1:
        raise OneSideOnly
    if difference:
        raise DoesNotAddUp(difference=decimal_text(difference, first.exponent), currency=first.asset)
    said = (await rules.find(tx, first.name)).command
    if not said.by_hand:
        raise NotByHand(name=first.name)
    match = await close(tx, chosen, "hand", batch=asked.id, by=asked.by, at=at)
    await void(tx, chosen, at)
    return match


async def open_ones(tx: Tx, refs: Sequence[str]) -> list[Row]:
    """Return breaks of one rule set and one asset that are open, and refuse any others."""
    held = await breaks.rows(tx, sorted({breaks.item_of(each) for each in refs}))
    chosen: dict[int, Row] = {}
    for ref in refs:
        row = breaks.open_one(held, ref)
        if isinstance(row, Refusal):
            raise row
        chosen[row.item] = row
    found = [chosen[item] for item in sorted(chosen)]
    for row in found:
        if row.asset != found[0].asset:
            raise MixedAssets(one=found[0].asset, other=row.asset)
        if row.name != found[0].name:
            raise OneSideOnly
    return found


def difference_of(chosen: Sequence[Row]) -> int:
    """Return ours less theirs."""
    return sum(row.amount if row.side == "ours" else -row.amount for row in chosen)


async def close(tx: Tx, chosen: Sequence[Row], kind: MatchKind, *, batch: UUID, by: UUID, at: datetime) -> Match:
    """Close breaks by a match of a kind; what was proposed of others of them is void."""
    first, difference = chosen[0], difference_of(chosen)
    posted = difference != 0 and kind not in {"hand", "accept"}
    wanted = [row.item for row in chosen]
    ours, theirs = ([row.item for row in chosen if row.side == side] for side in ("ours", "theirs"))
    text = "\x1e".join([kind, first.asset, str(difference), *(f"{row.side}\x1f{row.id}" for row in chosen)])
    await tx.do(_sql["add_parts"], book=tx.book, batch=batch, items=wanted)
    await tx.do(
        _sql["add_match"], book=tx.book, batch=batch, name=first.name, kind=kind, asset=first.asset,
        exponent=first.exponent, difference=difference, is_posted=posted, ours=ours, theirs=theirs,
        digest=hashlib.sha256(text.encode()).digest(), at=at, by=by,
    )  # fmt: skip
    await tx.do(_sql["close"], book=tx.book, items=wanted, at=at)
    return await find(tx, match_ref(batch, 1))


async def void(tx: Tx, chosen: Sequence[Row], at: datetime, *, but: int = 0) -> None:
    """Void what is asked or approved about breaks that were closed otherwise."""
    edits = [Edit(subject(row.item), ids.NOBODY) for row in chosen if row.approval is not None and row.item != but]
    if edits:
        await requests.edited(tx, edits, at)


async def undo(tx: Tx, asked: Sequence[Asked[UndoMatch]], at: datetime) -> list[Match | Refusal]:
    """Undo matches, in order, each whole or not at all."""
    names = [await _name(tx, *parsed(each.command.match)) for each in asked]
    await rules.lock(tx, [name for name in names if name])
    answers: list[Match | Refusal] = []
    for each in asked:
        try:
            async with tx.attempt():
                answers.append(await _undone(tx, each, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _name(tx: Tx, batch: UUID, number: int) -> str:
    row = await tx.row(_sql["name_of_match"], _Name, book=tx.book, batch=batch, number=number)
    return "" if row is None else row.name


async def _undone(tx: Tx, asked: Asked[UndoMatch], at: datetime) -> Match:
    row = await _find(tx, asked.command.match)
    where = {"book": tx.book, "batch": row.batch, "number": row.number}
    if not await tx.do(_sql["undo"], **where, at=at, by=asked.by):
        raise MatchUndone(id=asked.command.match)
    wanted = sorted([*row.ours, *row.theirs])
    await tx.do(_sql["free_parts"], **where, items=wanted)
    await tx.do(_sql["reopen"], book=tx.book, items=wanted, at=at)
    if row.is_posted:
        await posting.reverse(tx, row.posted, asked.by, at)
    return await find(tx, asked.command.match)


def parsed(ref: str) -> tuple[UUID, int]:
    """Return what found a match and which of its matches it is, or what nothing has."""
    batch, _, number = ref.partition("-")
    small = number.isascii() and number.isdecimal() and len(number) < len(str(1 << 31)) and number == str(int(number))
    return (readable("mat", batch), int(number)) if small else (ids.NOBODY, 0)


async def find(tx: Tx, ref: str) -> Match:
    """Return a match with its items."""
    return (await _shown(tx, [await _find(tx, ref)]))[0]


async def place_in(tx: Tx, batch: UUID, ref: str) -> int:
    """Return which of the matches of a run one is."""
    row = await _find(tx, ref)
    if row.batch != batch:
        raise MatchNotFound(id=ref)
    return row.number


async def of_batch(tx: Tx, batch: UUID, *, after: int = 0, most: int = 100) -> list[Match]:
    """Return the matches of a run, in order."""
    return await _shown(tx, await tx.rows(_sql["matches_page"], _Row, book=tx.book, batch=batch, after=after, most=most))


async def _find(tx: Tx, ref: str) -> _Row:
    batch, number = parsed(ref)
    found = await tx.row(_sql["match"], _Row, book=tx.book, batch=batch, number=number)
    if found is None:
        raise MatchNotFound(id=ref)
    return found


async def _shown(tx: Tx, found: Sequence[_Row]) -> list[Match]:
    known = await items.rows(tx, [item for row in found for item in (*row.ours, *row.theirs)])
    return [
        Match(
            id=match_ref(row.batch, row.number), rule_set=row.name, kind=row.kind,
            ours=[known[item].shown for item in row.ours], theirs=[known[item].shown for item in row.theirs],
            difference=decimal_text(row.difference, row.exponent), currency=row.asset, at=row.at,
            by=ids.text("prn", row.by), rule=row.rule,
            transaction=ids.text("trx", row.posted.transaction) if row.is_posted else None, undone_at=row.undone_at,
            undone_by=None if row.undone_by is None else ids.text("prn", row.undone_by),
        )
        for row in found
    ]  # fmt: skip
