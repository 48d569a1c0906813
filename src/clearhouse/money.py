"""Money: whole numbers of an asset's smallest unit. Never a float, never rounded without being told how.

Promise: what is read is exactly what was written, up to 38 digits; adding never mixes assets; splitting loses nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Context,
    Decimal,
    localcontext,
)
from enum import Enum
from fractions import Fraction
from functools import total_ordering

from iso4217 import Currency

from clearhouse.refusals import Kind, Refusal

DIGITS_MAX = 38
_LIMIT = 10**DIGITS_MAX
_DECIMAL = re.compile(r"-?[0-9]{1,38}(?:\.([0-9]{1,38}))?")
_PRECISION = 200


class MalformedAmount(Refusal):
    """{amount} is no amount: digits, at most 38, and decimals after a point if there are any."""

    code = "malformed_amount"
    kind = Kind.MALFORMED


class TooManyDecimals(Refusal):
    """{amount} has more decimals than the {exponent} that the asset has; it is not rounded for you."""

    code = "too_many_decimals"
    kind = Kind.MALFORMED


class MixedAssets(Refusal):
    """{one} and {other} cannot be added or compared."""

    code = "mixed_assets"
    kind = Kind.REFUSED


class NothingToAllocateBy(Refusal):
    """The weights must not be negative, and at least one must be above zero."""

    code = "nothing_to_allocate_by"
    kind = Kind.REFUSED


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that is counted, and how many decimals people write it with."""

    code: str
    exponent: int


_ISO = {each.code: Asset(each.code, each.exponent) for each in Currency if each.exponent is not None}


def iso(code: str) -> Asset | None:
    """Return a currency of ISO 4217; metals, funds' units and test codes have no exponent and are none."""
    return _ISO.get(code)


def minor_units(given: str, exponent: int) -> int:
    """Read a decimal text as a count of smallest units."""
    if len(given) <= DIGITS_MAX and given[-exponent - 1 : -exponent] == ".":  # all decimals are there, as they mostly are
        digits = given[: -exponent - 1] + given[-exponent:]
        if digits.isdecimal() and digits.isascii() and len(digits) > exponent:
            return int(digits)
    found = _DECIMAL.fullmatch(given)
    if found is None:
        raise MalformedAmount(amount=given[:80])
    fraction = found[1]
    if fraction is None:
        minor = int(given) * 10**exponent
    elif len(fraction) > exponent:
        raise TooManyDecimals(amount=given, exponent=str(exponent))
    else:
        minor = int(given.replace(".", "")) * 10 ** (exponent - len(fraction))
    if not -_LIMIT < minor < _LIMIT:
        raise MalformedAmount(amount=given)
    return minor


def decimal_text(minor: int, exponent: int) -> str:
    """Write a count of smallest units with all of its decimals."""
    if exponent == 0:
        return str(minor)
    if minor < 0:
        return "-" + decimal_text(-minor, exponent)
    digits = str(minor).rjust(exponent + 1, "0")
    return f"{digits[:-exponent]}.{digits[-exponent:]}"


@total_ordering
@dataclass(frozen=True, slots=True)
class Amount:
    """An exact amount of one asset."""

    minor: int
    asset: Asset

    def __post_init__(self) -> None:
        if not -_LIMIT < self.minor < _LIMIT:
            raise MalformedAmount(amount=decimal_text(self.minor, self.asset.exponent))

    @classmethod
    def parse(cls, given: str, asset: Asset) -> "Amount":
        """Read an amount as people write it."""
        return cls(minor_units(given, asset.exponent), asset)

    def text(self) -> str:
        """Write it as people do, with all decimals."""
        return decimal_text(self.minor, self.asset.exponent)

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.minor + self._same(other), self.asset)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.minor - self._same(other), self.asset)

    def __neg__(self) -> "Amount":
        return Amount(-self.minor, self.asset)

    def __lt__(self, other: "Amount") -> bool:
        return self.minor < self._same(other)

    def __bool__(self) -> bool:
        return self.minor != 0

    def __str__(self) -> str:
        return f"{self.text()} {self.asset.code}"

    def _same(self, other: "Amount") -> int:
        if other.asset != self.asset:
            raise MixedAssets(one=self.asset.code, other=other.asset.code)
        return other.minor


class Rounding(Enum):
    """What becomes of a part of a smallest unit."""

    HALF_EVEN = ROUND_HALF_EVEN
    HALF_UP = ROUND_HALF_UP
    DOWN = ROUND_DOWN
    UP = ROUND_UP
    FLOOR = ROUND_FLOOR
    CEILING = ROUND_CEILING


def percentage(amount: Amount, rate: Decimal, rounding: Rounding) -> Amount:
    """Return so many hundredths of an amount, rounded once, at the end, as told."""
    with localcontext(Context(prec=_PRECISION)):
        exact = Decimal(amount.minor) * rate / 100
        return Amount(int(exact.to_integral_value(rounding=rounding.value)), amount.asset)


def allocate(amount: Amount, weights: Sequence[int | Decimal]) -> list[Amount]:
    """Split an amount by weights so that the parts add up: the largest remainders get the units that are left over.

    Equal remainders are served in the order given; a negative amount is split as its opposite, negated.
    """
    if amount.minor < 0:
        return [-part for part in allocate(-amount, weights)]
    shares = [Fraction(weight) for weight in weights]
    whole = sum(shares, Fraction())
    if not shares or min(shares) < 0 or whole == 0:
        raise NothingToAllocateBy
    exact = [amount.minor * share / whole for share in shares]
    parts = [each.numerator // each.denominator for each in exact]
    left = amount.minor - sum(parts)
    by_remainder = sorted(range(len(parts)), key=lambda place: parts[place] - exact[place])
    for place in by_remainder[:left]:
        parts[place] += 1
    return [Amount(part, amount.asset) for part in parts]
