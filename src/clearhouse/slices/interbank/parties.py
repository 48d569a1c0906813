"""Parties: who asks as a bank. A principal whose organisation is a BIC sees and settles for that bank, and for no other.

Promise: who is not one of our own people and speaks for no bank either is shown nothing: whoever sees every bank has a scope
that says so, and the role `party` has not.
"""

from clearhouse.kernel.access.callers import Caller
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.validation import BIC

READ, EVERY_BANK = "interbank:read", "interbank:every_bank"
NO_BANK = ""


class OtherBank(Refusal):
    """You settle for {party}, not for {bic}."""

    code = "other_bank"
    kind = Kind.DENIED


def party(caller: Caller) -> str | None:
    """Return the bank that a caller speaks for, or none if every bank may be seen."""
    if BIC.fullmatch(caller.organisation):
        return caller.organisation
    narrow = any(READ in scopes and EVERY_BANK not in scopes for scopes in caller.scopes.values())
    return NO_BANK if narrow else None


def require_payer(caller: Caller, from_bank: str) -> None:
    """Refuse a bank that would have another one pay."""
    mine = party(caller)
    if mine is not None and mine != from_bank:
        raise OtherBank(party=mine or "no bank", bic=from_bank)


def require_ours(caller: Caller, bic: str) -> None:
    """Refuse a bank that wants to change what stands between us and a bank: that is for our own people."""
    mine = party(caller)
    if mine is not None:
        raise OtherBank(party=mine or "no bank", bic=bic)
