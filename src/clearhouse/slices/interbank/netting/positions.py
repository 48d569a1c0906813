"""Positions: what each bank is to pay or to get in a cycle, and the obligations that it comes of.

    gross           each obligation by itself
    bilateral       two banks: what one of them still owes the other when both are set off
    multilateral    a bank: all that it is owed less all that it owes, through the clearing account of the cycle

Promise: the sums of a position are those of its branches, and those of its branches are those of their obligations, exactly;
all positions of a multilateral cycle add up to zero.
"""

import re
from typing import Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.netting import cycles, obligations
from clearhouse.slices.interbank.netting.cycle import CycleRow, Method, PositionState
from clearhouse.slices.interbank.netting.obligations import Obligation

sql = Statements.of("clearhouse.slices.interbank.netting", "positions.sql")
_REF = re.compile(r"pos_(?P<cycle>[0-9A-Z]{26})-(?P<place>[1-9][0-9]{0,11})")


class PositionNotFound(Refusal):
    """There is no position {id} here."""

    code = "position_not_found"
    kind = Kind.UNKNOWN


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a bank gets (`net` above zero) or pays, of or to the counterparty, or of and to all the others together."""

    id: str
    cycle: str
    method: Method
    bank: str
    sent: str
    received: str
    net: str
    currency: str
    obligations: int
    state: PositionState
    counterparty: str | None = None
    obligation_id: str | None = None
    waits_because: str | None = None


class Branch(msgspec.Struct, frozen=True):
    """What the obligations of one bank towards another come to; which way that is, as the bank of the position sees it."""

    way: Literal["sent", "received"]
    from_bank: str
    to_bank: str
    obligations: int
    amount: str


class Explanation(msgspec.Struct, frozen=True):
    """A position and its branches; the leaves, obligation by obligation, are read page by page."""

    position: Position
    branches: list[Branch]


class PositionRow(msgspec.Struct, frozen=True):
    """A position as it is stored."""

    cycle: UUID
    place: int
    bank: str
    counterparty: str | None
    obligation_id: str | None
    obligations: int
    sent: int
    received: int
    net: int
    state: str
    reason: str | None

    def shown(self, cycle: CycleRow) -> Position:
        """Return it as it is shown."""
        return Position(
            id=ref(self.cycle, self.place), cycle=cycle.text, method=cycle.method, bank=self.bank,
            sent=cycle.money(self.sent), received=cycle.money(self.received), net=cycle.money(self.net),
            currency=cycle.currency, obligations=self.obligations, state=PositionState(self.state),
            counterparty=self.counterparty, obligation_id=self.obligation_id, waits_because=self.reason,
        )  # fmt: skip

    @property
    def payer(self) -> str | None:
        """Return who pays; nobody is the clearing account."""
        return self.bank if self.net < 0 else self.counterparty

    @property
    def payee(self) -> str | None:
        """Return who is paid; nobody is the clearing account."""
        return self.counterparty if self.net < 0 else self.bank


class _Flow(msgspec.Struct, frozen=True):
    payer: str
    payee: str
    obligations: int
    amount: int


def ref(cycle: UUID, place: int) -> str:
    """Return the id of a position: its cycle, and which of it."""
    return f"{ids.text('pos', cycle)}-{place}"


async def _find(tx: Tx, text: str, party: str | None) -> tuple[CycleRow, PositionRow]:
    parts = _REF.fullmatch(text)
    if parts is not None:
        own = readable("cyc", f"cyc_{parts['cycle']}")
        found = await _page(tx, own, bank=party, after=int(parts["place"]) - 1, most=1)
        if found and found[0].place == int(parts["place"]):
            return (await cycles.rows(tx, [own]))[own], found[0]
    raise PositionNotFound(id=text[:64])


async def _page(tx: Tx, cycle: UUID, *, bank: str | None, after: int, most: int) -> list[PositionRow]:
    return await tx.rows(
        sql["positions_page"], PositionRow, book=tx.book, cycle=cycle, bank=bank, after=after, most=most
    )  # fmt: skip


async def listed(
    tx: Tx, cycle: str, *, bank: str | None = None, after: str | None = None, most: int = 100
) -> list[Position]:
    """Return the positions of a cycle, of one bank or of all; none as long as it is not netted."""
    found = await cycles.row(tx, cycle)
    place = 0
    if after is not None:
        last, position = await _find(tx, after, bank)
        if last.id != found.id:
            raise PositionNotFound(id=after[:64])
        place = position.place
    page = await _page(tx, found.id, bank=bank, after=place, most=most)
    return [row.shown(found) for row in page]


async def explained(tx: Tx, text: str, *, party: str | None = None) -> Explanation:
    """Return a position with what it comes of."""
    cycle, row = await _find(tx, text, party)
    if row.obligation_id is not None:
        only = Branch("sent", row.bank, str(row.counterparty), 1, cycle.money(row.sent))
        return Explanation(row.shown(cycle), [only])
    flows = await tx.rows(sql["flows"], _Flow, book=tx.book, cycle=cycle.id, bank=row.bank, other=row.counterparty)
    branches = [
        Branch(
            "sent" if each.payer == row.bank else "received", each.payer, each.payee, each.obligations,
            cycle.money(each.amount),
        )
        for each in flows
    ]  # fmt: skip
    return Explanation(row.shown(cycle), branches)


async def leaves(
    tx: Tx, text: str, *, party: str | None = None, after: str | None = None, most: int = 100
) -> list[Obligation]:
    """Return the obligations that a position comes of, as they were recorded."""
    cycle, row = await _find(tx, text, party)
    if row.obligation_id is not None:
        return [] if after is not None else await obligations.leaf(tx, cycle.id, row.obligation_id)
    return await obligations.listed(tx, cycle.id, bank=row.bank, other=row.counterparty, after=after, most=most)
