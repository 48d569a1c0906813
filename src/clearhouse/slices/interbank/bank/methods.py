"""Methods: on what terms the bank takes an order on each rail, and when it is carried out.

Promise: an order that comes too late for a day is carried out when the next one opens, and says so by its value date.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated

import msgspec

from clearhouse.kernel.calendars.rules import rule
from clearhouse.slices.interbank.channel import Method
from clearhouse.windows import business_date_of, session


class Late(Enum):
    """What becomes of an order after the cut-off."""

    WAIT = "wait"
    REFUSE = "refuse"


class Terms(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What holds for a method: its currencies (all, if none is named), its limit, its speed, its days and its cut-off."""

    method: Method
    currencies: list[str] = []
    amount_max: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,30}([.][0-9]{1,18})?$")] | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0
    calendar: str | None = None
    cut_off: time | None = None
    late: Late = Late.WAIT

    def checked(self) -> "Terms":
        """Return them; a calendar that nobody knows and a cut-off outside its hours are refused."""
        if self.calendar is not None:
            replace(rule(self.calendar).window, cut_off=self.cut_off)
        return self

    def above(self, amount: int, exponent: int) -> bool:
        """Tell whether an amount is above the limit."""
        return self.amount_max is not None and Decimal(amount) > Decimal(self.amount_max).scaleb(exponent)


AS_IN_LIFE = (
    Terms(Method.SWIFT, seconds=20.0, calendar="TARGET2", cut_off=time(17)),
    Terms(Method.SEPA, ["EUR"], "999999999.99", 4.0, "TARGET2", time(16)),
    Terms(Method.LOCAL_ACH, ["USD"], "1000000.00", 4.0, "FEDWIRE", time(16, 45), Late.REFUSE),
)


@dataclass(frozen=True, slots=True)
class Slot:
    """When an order is carried out, and the day for which it counts; `waits` until that day opens."""

    due: datetime
    value: date
    waits: bool = False


def slot(terms: Terms, at: datetime) -> Slot | None:
    """Return when an order that comes at an instant is carried out; none if it is too late to be taken."""
    speed = timedelta(seconds=terms.seconds)
    if terms.calendar is None:
        return Slot(at + speed, at.date())
    window = replace(rule(terms.calendar).window, cut_off=terms.cut_off)
    day = business_date_of(window, at)
    hours = session(window, day)
    if hours is None or hours.opens <= at:
        return Slot(at + speed, day)
    if terms.late is Late.REFUSE:
        return None
    return Slot(hours.opens + speed, day, waits=True)
