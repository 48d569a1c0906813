"""Parties: who asks as a bank. A principal whose organisation is a BIC sees and settles for that bank, and for no other."""

from clearhouse.kernel.access.callers import Caller
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.validation import BIC


class OtherBank(Refusal):
    """You settle for {party}, not for {bic}."""

    code = "other_bank"
    kind = Kind.DENIED


def party(caller: Caller) -> str | None:
    """Return the bank that a caller speaks for; nobody's bank is one of ours."""
    return caller.organisation if BIC.fullmatch(caller.organisation) else None


def require_payer(caller: Caller, from_bank: str) -> None:
    """Refuse a bank that would have another one pay."""
    mine = party(caller)
    if mine is not None and mine != from_bank:
        raise OtherBank(party=mine, bic=from_bank)


def require_ours(caller: Caller, bic: str) -> None:
    """Refuse a bank that wants to change what stands between us and a bank: that is for our own people."""
    mine = party(caller)
    if mine is not None:
        raise OtherBank(party=mine, bic=bic)
