"""Matches: items that belong together, found by a rule or by people.

Promise: an item is part of one match at a time. What closes a break without a counterpart is a match of one side like any
other; what becomes of a match afterwards, `amendments` says.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
from clearhouse.kernel.reconciliation import breaks, items, rules
from clearhouse.kernel.reconciliation.breaks import BreakRef, subject
from clearhouse.kernel.reconciliation.breaks import Row as Break
from clearhouse.kernel.reconciliation.items import Shown
from clearhouse.kernel.reconciliation.posting import Difference, match_ref
from clearhouse.money import MixedAssets, decimal_text
from clearhouse.refusals import Kind, Refusal

sql = Statements.of("clearhouse.kernel.reconciliation", "matches.sql")
BREAKS_MAX = 500

MatchRef = Annotated[str, msgspec.Meta(max_length=42, examples=["mat_01KAHG7R9Q7XKJ8W3M5N2P4T6V-1"])]
Change = Literal["undo", "claim"]
MatchKind = Literal["rule", "hand", "match", "write_off", "suspend", "accept"]


class MatchNotFound(Refusal):
    """There is no match {id} here."""

    code = "match_not_found"
    kind = Kind.UNKNOWN


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


class Amendment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to become of a match, once it is approved; `id` tells one proposal from the same again."""

    id: str
    action: Change
    by: str
    at: datetime
    account: str | None = None
    remark: str = ""


class Match(msgspec.Struct, frozen=True, omit_defaults=True):
    """Items that belong together. `difference` is ours less theirs, and `transaction` what was posted for it.

    `suspense` is the account where money waits that nobody claims, and `claimed_to` where it went when somebody did.
    """

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
    proposal: Amendment | None = None
    approval: str | None = None
    suspense: str | None = None
    claimed_at: datetime | None = None
    claimed_to: str | None = None
    claim: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A match as it is kept."""

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
    proposal: str | None
    approval: UUID | None
    suspense: str | None
    claimed_at: datetime | None
    claimed_to: str | None

    @property
    def ref(self) -> str:
        """Return what the match is called outside."""
        return match_ref(self.batch, self.number)

    @property
    def proposed(self) -> Amendment | None:
        """Return what is to become of it, if somebody said so."""
        return None if self.proposal is None else _amendments.decode(self.proposal)

    @property
    def posted(self) -> Difference:
        """Return what it differs by."""
        return Difference(self.batch, self.number, self.asset, self.exponent, self.difference)


_amendments = msgspec.json.Decoder(Amendment)


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


async def open_ones(tx: Tx, refs: Sequence[str]) -> list[Break]:
    """Return breaks of one rule set and one asset that are open, and refuse any others."""
    held = await breaks.rows(tx, sorted({breaks.item_of(each) for each in refs}))
    chosen: dict[int, Break] = {}
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


def difference_of(chosen: Sequence[Break]) -> int:
    """Return ours less theirs."""
    return sum(row.amount if row.side == "ours" else -row.amount for row in chosen)


async def close(
    tx: Tx, chosen: Sequence[Break], kind: MatchKind, *, batch: UUID, by: UUID, at: datetime, suspense: str | None = None
) -> Match:  # fmt: skip
    """Close breaks by a match of a kind; what was proposed of others of them is void."""
    first, difference = chosen[0], difference_of(chosen)
    posted = difference != 0 and kind not in {"hand", "accept"}
    wanted = [row.item for row in chosen]
    ours, theirs = ([row.item for row in chosen if row.side == side] for side in ("ours", "theirs"))
    text = "\x1e".join([kind, first.asset, str(difference), *(f"{row.side}\x1f{row.id}" for row in chosen)])
    await tx.do(sql["add_parts"], book=tx.book, batch=batch, items=wanted)
    await tx.do(
        sql["add_match"], book=tx.book, batch=batch, name=first.name, kind=kind, asset=first.asset,
        exponent=first.exponent, difference=difference, is_posted=posted, ours=ours, theirs=theirs,
        digest=hashlib.sha256(text.encode()).digest(), at=at, by=by, suspense=suspense if kind == "suspend" else None,
    )  # fmt: skip
    await tx.do(sql["close"], book=tx.book, items=wanted, at=at)
    return await find(tx, match_ref(batch, 1))


async def void(tx: Tx, chosen: Sequence[Break], at: datetime, *, but: int = 0) -> None:
    """Void what is asked or approved about breaks that were closed otherwise."""
    edits = [Edit(subject(row.item), ids.NOBODY) for row in chosen if row.approval is not None and row.item != but]
    if edits:
        await requests.edited(tx, edits, at)


def parsed(ref: str) -> tuple[UUID, int]:
    """Return what found a match and which of its matches it is, or what nothing has."""
    batch, _, number = ref.partition("-")
    small = number.isascii() and number.isdecimal() and len(number) < len(str(1 << 31)) and number == str(int(number))
    return (readable("mat", batch), int(number)) if small else (ids.NOBODY, 0)


async def find(tx: Tx, ref: str) -> Match:
    """Return a match with its items."""
    return (await _shown(tx, [await row_of(tx, ref)]))[0]


async def unclaimed(tx: Tx, *, after: Match | None = None, most: int = 100) -> list[Match]:
    """Return the matches whose money waits in suspense, those that wait longest first."""
    batch, number = (ids.NOBODY, 0) if after is None else parsed(after.id)
    at = datetime(1, 1, 1, tzinfo=UTC) if after is None else after.at
    return await _shown(tx, await tx.rows(sql["unclaimed"], Row, book=tx.book, at=at, batch=batch, number=number, most=most))


async def place_in(tx: Tx, batch: UUID, ref: str) -> int:
    """Return which of the matches of a run one is."""
    row = await row_of(tx, ref)
    if row.batch != batch:
        raise MatchNotFound(id=ref)
    return row.number


async def of_batch(tx: Tx, batch: UUID, *, after: int = 0, most: int = 100) -> list[Match]:
    """Return the matches of a run, in order."""
    return await _shown(tx, await tx.rows(sql["matches_page"], Row, book=tx.book, batch=batch, after=after, most=most))


async def row_of(tx: Tx, ref: str) -> Row:
    """Return a match as it is kept."""
    batch, number = parsed(ref)
    found = await tx.row(sql["match"], Row, book=tx.book, batch=batch, number=number)
    if found is None:
        raise MatchNotFound(id=ref)
    return found


async def _shown(tx: Tx, found: Sequence[Row]) -> list[Match]:
    known = await items.rows(tx, [item for row in found for item in (*row.ours, *row.theirs)])
    return [
        Match(
            id=match_ref(row.batch, row.number), rule_set=row.name, kind=row.kind,
            ours=[known[item].shown for item in row.ours], theirs=[known[item].shown for item in row.theirs],
            difference=decimal_text(row.difference, row.exponent), currency=row.asset, at=row.at,
            by=ids.text("prn", row.by), rule=row.rule,
            transaction=ids.text("trx", row.posted.transaction) if row.is_posted else None, undone_at=row.undone_at,
            undone_by=None if row.undone_by is None else ids.text("prn", row.undone_by), proposal=row.proposed,
            approval=None if row.approval is None else ids.text("apr", row.approval), suspense=row.suspense,
            claimed_at=row.claimed_at, claimed_to=row.claimed_to,
            claim=None if row.claimed_at is None else ids.text("trx", row.posted.claim),
        )
        for row in found
    ]  # fmt: skip
