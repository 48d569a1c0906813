"""Views: what a bank is told of its settlements, where our own people are told more.

Promise: a bank does not learn whom we look for, what lies on our accounts elsewhere, or that others have settlements.
"""

from collections.abc import Sequence

import msgspec

from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank import commands, reading
from clearhouse.slices.interbank.netting import obligations
from clearhouse.slices.interbank.netting.obligations import ObligationNotFound
from clearhouse.slices.interbank.parties import party, require_payer
from clearhouse.slices.interbank.settlement import ExecuteSettlement, ObligationNetted, Settlement, SettlementNotFound
from clearhouse.transport.http.visits import Visit


class ObligationTaken(Refusal):
    """Obligation {obligation_id} is taken in this book; give yours another id."""

    code = "obligation_taken"
    kind = Kind.CONFLICT


class CorrespondentUnable(Refusal):
    """{bic} cannot be paid in {currency} through us at the moment."""

    code = "correspondent_unable"
    kind = Kind.REFUSED


def shown(settlement: Settlement, mine: str | None) -> Settlement:
    """Return a settlement as somebody sees it: to a bank we do not say why a person looks, or whom it was like."""
    return settlement if mine is None else msgspec.structs.replace(settlement, remark=None, review=None)


async def execute(
    visit: Visit, asked: Sequence[ExecuteSettlement], *, book: str | None, key: str | None
) -> list[Settlement | Refusal]:
    """Execute settlements for whoever may have these banks pay, and answer as they may see it."""
    for each in asked:
        require_payer(visit.caller, each.from_bank)
    answers = await visit.submit_all(commands.EXECUTE_SETTLEMENT, asked, book=book, key=key) if asked else []
    return [await _answered(visit, each, answer, book) for each, answer in zip(asked, answers, strict=True)]


async def _answered(
    visit: Visit, asked: ExecuteSettlement, answer: Settlement | Refusal, book: str | None
) -> Settlement | Refusal:
    mine = party(visit.caller)
    if isinstance(answer, Settlement):
        return shown(answer, mine)
    if mine is None:
        return answer
    if answer.values.get("account", "").startswith("nostro:"):
        return CorrespondentUnable(bic=asked.to_bank, currency=asked.currency)
    if isinstance(answer, ObligationNetted) and not await _is_netted(visit, asked.obligation_id, mine, book):
        return ObligationTaken(obligation_id=asked.obligation_id)
    if "settlement" in answer.values and not await _is_mine(visit, answer.values["settlement"], mine, book):
        return ObligationTaken(obligation_id=asked.obligation_id)
    return answer


async def _is_netted(visit: Visit, obligation: str, mine: str, book: str | None) -> bool:
    async with visit.reading(commands.READ, book) as tx:
        try:
            await obligations.find(tx, obligation, party=mine)
        except ObligationNotFound:
            return False
    return True


async def _is_mine(visit: Visit, settlement: str, mine: str, book: str | None) -> bool:
    async with visit.reading(commands.READ, book) as tx:
        try:
            await reading.find(tx, settlement, party=mine)
        except SettlementNotFound:
            return False
    return True
