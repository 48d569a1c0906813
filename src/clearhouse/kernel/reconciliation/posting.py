"""Posting: what items differ by goes through the ledger, between the account that is reconciled and one that takes it.

Promise: after it our account holds what theirs does, as far as these items go; each match has a transaction of its own, with
an id made of it, so none is posted twice and an undo reverses exactly that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.ledger import posting, reading
from clearhouse.kernel.ledger.transfers import Leg, PostTransaction
from clearhouse.kernel.reconciliation.rules import DefineRules
from clearhouse.kernel.reconciliation.rules import account as account_of
from clearhouse.money import decimal_text
from clearhouse.refusals import Kind, Refusal

MARK = "reconciliation"  # in the metadata of what we post: it is no item of our side
Where = Literal["write_off", "suspense"]


class NowhereToPost(Refusal):
    """The rule set {name} names no {where} account, so nothing can be posted there."""

    code = "nowhere_to_post"
    kind = Kind.REFUSED


class PostingRefused(Refusal):
    """What is left of match {match} cannot be posted: {reason}"""  # noqa: D400 - the reason ends it

    code = "posting_refused"
    kind = Kind.REFUSED


@dataclass(frozen=True, slots=True)
class Difference:
    """What a match differs by: ours less theirs."""

    batch: UUID
    number: int
    asset: str
    exponent: int
    difference: int

    @property
    def match(self) -> str:
        """Return what the match is called."""
        return match_ref(self.batch, self.number)

    @property
    def transaction(self) -> UUID:
        """Return the id that its transaction has."""
        return ids.derived("reconciliation.match", str(self.batch), str(self.number))

    @property
    def undo(self) -> UUID:
        """Return the id that the transaction has that reverses it."""
        return ids.derived("reconciliation.undo", str(self.transaction))

    @property
    def claim(self) -> UUID:
        """Return the id that the transaction has that moves it out of suspense."""
        return ids.derived("reconciliation.claim", str(self.transaction))


def match_ref(batch: UUID, number: int) -> str:
    """Return what a match is called outside: what found it, and which of its matches it is."""
    return f"{ids.text('mat', batch)}-{number}"


def place(rules: DefineRules, where: Where) -> tuple[str, str]:
    """Return the account that is reconciled and the one that takes what differs."""
    other = rules.write_off if where == "write_off" else rules.suspense
    if rules.account is None or other is None:
        raise NowhereToPost(name=rules.name, where=where.replace("_", "-"))
    return rules.account, other


async def post_differences(
    tx: Tx, rules: DefineRules, where: Where, differences: Sequence[Difference], *, by: UUID, at: datetime
) -> None:  # fmt: skip
    """Post what matches differ by, a transaction each; if one is refused, so is everything."""
    if not differences:
        return
    account, other = place(rules, where)
    normal = {asset: (await account_of(tx, account, asset)).normal for asset in {each.asset for each in differences}}
    asked = [Asked(_transaction(each, rules, other, normal[each.asset]), each.transaction, by) for each in differences]
    tx.careful = True  # a run is too long to be made again because somebody posted meanwhile
    for each, answer in zip(differences, await posting.post(tx, asked, at), strict=True):
        if isinstance(answer, Refusal):
            raise PostingRefused(match=each.match, reason=str(answer))


async def reverse(tx: Tx, difference: Difference, by: UUID, at: datetime) -> None:
    """Reverse what a match posted."""
    leg = Leg(reverse=ids.text("trf", difference.transaction))
    whole = PostTransaction([leg], reference=difference.match, metadata={MARK: difference.match})
    tx.careful = True
    answer = (await posting.post(tx, [Asked(whole, difference.undo, by)], at))[0]
    if isinstance(answer, Refusal):
        raise PostingRefused(match=difference.match, reason=str(answer))


async def move(tx: Tx, difference: Difference, *, suspense: str, account: str, by: UUID, at: datetime) -> None:
    """Move what waits in suspense to the account that it belongs to."""
    amount = decimal_text(abs(difference.difference), difference.exponent)
    posted = await reading.find_transaction(tx, ids.text("trx", difference.transaction))
    waiting = await account_of(tx, suspense, difference.asset)
    debit, credit = (suspense, account) if posted.transfers[0].credit == waiting.id else (account, suspense)
    leg = Leg(debit=debit, credit=credit, amount=amount, currency=difference.asset)
    whole = PostTransaction([leg], reference=difference.match, metadata={MARK: difference.match})
    tx.careful = True
    answer = (await posting.post(tx, [Asked(whole, difference.claim, by)], at))[0]
    if isinstance(answer, Refusal):
        raise PostingRefused(match=difference.match, reason=str(answer))


def _transaction(each: Difference, rules: DefineRules, other: str, normal: str) -> PostTransaction:
    """Bring our account from what we have to what they have: down if ours is more."""
    account = rules.account or ""
    down = each.difference > 0
    credit_first = down == (normal == "debit")
    debit, credit = (other, account) if credit_first else (account, other)
    leg = Leg(debit=debit, credit=credit, amount=decimal_text(abs(each.difference), each.exponent), currency=each.asset)
    return PostTransaction([leg], reference=each.match, metadata={MARK: rules.name})
