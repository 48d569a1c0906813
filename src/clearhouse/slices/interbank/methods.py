"""The methods: which rail carries what, how much of it, until when, and how long a word from it may take.

The real formats come later; here all of them reach a bank through its channel, each with the limits of its rail.
"""

from dataclasses import dataclass
from datetime import time
from functools import lru_cache

from clearhouse.kernel.calendars.rules import rule
from clearhouse.kernel.calendars.zones import zone
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.channel import Method
from clearhouse.windows import Window


class WrongCurrency(Refusal):
    """{method} settles in {wanted}, not in {currency}."""

    code = "wrong_currency"
    kind = Kind.REFUSED


class AboveMethod(Refusal):
    """{method} carries at most {most} {currency} in one payment; {amount} is more."""

    code = "above_method_limit"
    kind = Kind.REFUSED


@dataclass(frozen=True, slots=True)
class Rail:
    """What a method can do. `most` is in the smallest unit; `hours` are those of the rail, if it has any of its own."""

    method: Method
    confirmation_seconds: int
    currency: str | None = None
    most: int | None = None
    calendar: str | None = None
    opens: time = time()
    closes: time = time()


RAILS = {
    Method.MOCK: Rail(Method.MOCK, 300),
    Method.SWIFT: Rail(Method.SWIFT, 300),
    Method.SEPA: Rail(Method.SEPA, 300, "EUR", 99_999_999_999, "TARGET2", time(2, 30), time(17)),
    Method.LOCAL_ACH: Rail(Method.LOCAL_ACH, 300, "USD", 100_000_000, "FEDWIRE", time(6), time(16, 45)),
}


@lru_cache
def hours(method: Method) -> Window | None:
    """Return when a rail takes payments; None is always."""
    rail = RAILS[method]
    if rail.calendar is None:
        return None
    calendar = rule(rail.calendar).window
    return Window(calendar.calendar, zone(str(calendar.zone)), rail.opens, rail.closes)
