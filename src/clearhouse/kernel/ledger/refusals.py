"""Every way the ledger says no to a transaction, in order of precedence: the first that applies is the answer.

A transaction is looked at as a whole first (its id, its day), then leg by leg in the order given, and within a leg from top
to bottom of this list. Of a leg's two accounts the debited one is looked at first: for its state, then for its counters, at
last for its limits. An id or an amount that cannot be read is refused where it is read.
"""

from clearhouse.refusals import Kind, Refusal


class ExistsDifferently(Refusal):
    """Transaction {id} exists with another {field}; a new transaction needs a new id."""

    code = "exists_with_different_content"
    kind = Kind.REFUSED


class DayClosed(Refusal):
    """Day {day} is closed, up to and including {sealed_to}; give a later effective date, or none."""

    code = "day_closed"
    kind = Kind.REFUSED


class TransferIdTaken(Refusal):
    """Transfer {id} exists already in another transaction; every transfer needs an id of its own."""

    code = "transfer_id_taken"
    kind = Kind.REFUSED


class MalformedLeg(Refusal):
    """Transfer {position} must be a movement (debit, credit, amount, currency), capture, release or reversal: {problem}."""

    code = "malformed_transfer"
    kind = Kind.REFUSED


class AccountUnknown(Refusal):
    """There is no account {account} in {currency} in this book."""

    code = "account_unknown"
    kind = Kind.REFUSED


class SameAccount(Refusal):
    """Account {account} stands on both sides; a transfer moves between two accounts."""

    code = "same_account"
    kind = Kind.REFUSED


class TransferUnknown(Refusal):
    """There is no transfer {id} in this book."""

    code = "transfer_unknown"
    kind = Kind.REFUSED


class AssetMismatch(Refusal):
    """Transfer {id} is in {asset}, not in {currency}."""

    code = "asset_mismatch"
    kind = Kind.REFUSED


class NotAHold(Refusal):
    """Transfer {id} is not a hold; only a hold is captured or released."""

    code = "not_a_hold"
    kind = Kind.REFUSED


class HoldEnded(Refusal):
    """Hold {id} has ended: it is {state}."""

    code = "hold_ended"
    kind = Kind.REFUSED


class HoldPinned(Refusal):
    """Hold {id} is pinned: what it was made for may be on its way, and only its answer frees it."""

    code = "hold_pinned"
    kind = Kind.REFUSED


class HoldExpired(Refusal):
    """Hold {id} expired at {expires_at}."""

    code = "hold_expired"
    kind = Kind.REFUSED


class NotReversible(Refusal):
    """Transfer {id} is a {kind}; only what was posted can be reversed."""

    code = "not_reversible"
    kind = Kind.REFUSED


class AmountNotPositive(Refusal):
    """The amount {amount} is not above zero; swap debit and credit to move the other way."""

    code = "amount_not_positive"
    kind = Kind.REFUSED


class ExpiryInThePast(Refusal):
    """The hold would expire at {expires_at}, which is not in the future."""

    code = "expiry_in_the_past"
    kind = Kind.REFUSED


class AboveHold(Refusal):
    """Hold {id} has {remaining} {asset} left; {amount} cannot be captured."""

    code = "above_hold"
    kind = Kind.REFUSED


class AboveOriginal(Refusal):
    """Transfer {id} has {remaining} {asset} left to reverse; {amount} is more."""

    code = "above_original"
    kind = Kind.REFUSED


class AccountClosed(Refusal):
    """Account {account} is closed."""

    code = "account_closed"
    kind = Kind.REFUSED


class AccountFrozen(Refusal):
    """Account {account} is frozen; until it is unfrozen only releases of holds are possible."""

    code = "account_frozen"
    kind = Kind.REFUSED


class CounterOverflow(Refusal):
    """Account {account} would pass 38 digits."""

    code = "counter_overflow"
    kind = Kind.REFUSED


class InsufficientFunds(Refusal):
    """Account {account} has {available} {asset} available above its floor; {amount} is needed."""

    code = "insufficient_funds"
    kind = Kind.REFUSED


class AboveCeiling(Refusal):
    """Account {account} has room for {room} {asset} below its ceiling; {amount} is too much."""

    code = "above_ceiling"
    kind = Kind.REFUSED
