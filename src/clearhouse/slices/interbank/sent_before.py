"""Sent before: an obligation whose order was given up without its bank's last word is settled again by the very same order.

    given up, nothing heard since    the same terms again, under the same end-to-end id: the bank takes one of both
    other terms                      refused: other_terms
    it was paid after all            refused: paid_late; its money lies in suspense
    a part of it was paid            refused: partly_paid
    rejected, or all came back       nothing stands here any more, and whoever comes has an id of their own

Promise: as far as a bank takes an end-to-end id once, what is given up and settled again leaves our nostro once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.faults import Stale
from clearhouse.money import minor_units
from clearhouse.slices.interbank import rows
from clearhouse.slices.interbank.answers import late_of
from clearhouse.slices.interbank.rows import Row
from clearhouse.slices.interbank.settlement import ENDED, ExecuteSettlement, OtherTerms, PaidLate, PartlyPaid, of_order

_ENDED = {each.value for each in ENDED}


@dataclass(frozen=True, slots=True)
class Before:
    """Who carried an order last that may still arrive, and what of it lies in suspense."""

    last: Row
    lies: int

    def require(self, command: ExecuteSettlement) -> None:
        """Refuse whoever would not send the same, or pay what is paid."""
        if self.lies:
            raise PaidLate(obligation_id=command.obligation_id, settlement=self.last.text)
        if self.last.captured:
            raise PartlyPaid(obligation_id=command.obligation_id, settlement=self.last.text)
        terms = (
            ("from_bank", self.last.from_bank, command.from_bank), ("to_bank", self.last.to_bank, command.to_bank),
            ("currency", self.last.currency, command.currency), ("method", self.last.method, command.method.value),
        )  # fmt: skip
        differs = [name for name, sent, asked in terms if sent != asked]
        if not differs and minor_units(command.amount, self.last.exponent) != self.last.amount:
            differs = ["amount"]
        if differs:
            raise OtherTerms(obligation_id=command.obligation_id, settlement=self.last.text, field=differs[0])


async def sent_before(tx: Tx, settlements: Sequence[tuple[UUID, UUID]]) -> dict[str, Before]:
    """Return by obligation who carried these orders last, locked: those for whom they were made first, as whoever hears."""
    if not settlements:
        return {}
    origins = {of_order(order)[0] for _, order in settlements}
    there = await rows.locked(tx, origins)
    there |= await rows.locked(tx, {own for own, _ in settlements} - origins)
    late = await late_of(tx, origins)
    found: dict[str, Before] = {}
    for own, order in settlements:
        last = there[own]
        if last.state not in _ENDED or last.carries != order:
            message = "an order that nobody carried was taken up since"
            raise Stale(message)
        found[last.obligation_id] = Before(last, late[order].lies if order in late else 0)
    return found
