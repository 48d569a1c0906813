"""Laws of money: nothing is lost, nothing is rounded unasked, and what is read is what was written."""

from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from clearhouse.money import (
    DIGITS_MAX,
    Amount,
    Asset,
    MalformedAmount,
    MixedAssets,
    NothingToAllocateBy,
    Rounding,
    TooManyDecimals,
    allocate,
    decimal_text,
    iso,
    minor_units,
    percentage,
)
from trying import law

LARGEST = 10**DIGITS_MAX - 1
minors = st.integers(-LARGEST, LARGEST)
exponents = st.integers(0, 30)
assets = st.builds(Asset, st.sampled_from(["USD", "JPY", "KWD", "POINT"]), exponents)
amounts = st.builds(Amount, minors, assets)
rates = st.decimals(allow_nan=False, allow_infinity=False, min_value=-100, max_value=100, places=12)
weights = st.one_of(st.integers(0, 10**12), st.decimals(0, 10**6, places=6, allow_nan=False, allow_infinity=False))
some_weights = st.lists(weights, min_size=1, max_size=12).filter(any)


@law
@given(minors, exponents)
def test_an_amount_survives_being_written_and_read(minor: int, exponent: int) -> None:
    assert minor_units(decimal_text(minor, exponent), exponent) == minor


@law
@given(minors, exponents)
def test_the_text_of_an_amount_says_its_exact_value(minor: int, exponent: int) -> None:
    text = decimal_text(minor, exponent)
    assert Fraction(text) == Fraction(minor, 10**exponent)
    assert len(text.partition(".")[2]) == exponent


@law
@given(st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,12})?", fullmatch=True), exponents)
def test_what_is_read_is_exactly_what_was_given_or_is_refused(given_text: str, exponent: int) -> None:
    if len(given_text.partition(".")[2]) > exponent:
        with pytest.raises(TooManyDecimals):
            minor_units(given_text, exponent)
    elif abs(Fraction(given_text) * 10**exponent) > LARGEST:
        with pytest.raises(MalformedAmount):
            minor_units(given_text, exponent)
    else:
        assert minor_units(given_text, exponent) == Fraction(given_text) * 10**exponent


@law
@given(st.text(max_size=12), exponents)
@example("1e5", 2)
@example("0x10", 2)
@example("1_000", 2)
@example("1,00", 2)
@example("+1", 2)
@example(" 1", 2)
@example("1\n", 2)
@example("١٢", 2)
@example("1.٢", 2)
@example("²", 2)
def test_a_text_of_anything_else_than_plain_digits_is_refused(text: str, exponent: int) -> None:
    assume(not set(text) <= set("-.0123456789"))
    with pytest.raises(MalformedAmount):
        minor_units(text, exponent)


@pytest.mark.parametrize("text", ["", "-", ".", "1.", ".5", "-.5", "--1", "1-", "1.2.3", "1..2", "inf", "nan", "1.0e3"])
def test_what_only_a_float_would_understand_is_refused(text: str) -> None:
    with pytest.raises(MalformedAmount):
        minor_units(text, 2)


@law
@given(st.integers(39, 400), exponents, st.sampled_from(["", "-"]), st.sampled_from("09"))
def test_more_than_38_digits_are_refused_even_if_they_are_zeros(digits: int, exponent: int, sign: str, digit: str) -> None:
    with pytest.raises(MalformedAmount):
        minor_units(sign + digit * digits, exponent)


def test_38_digits_are_the_most_whether_or_not_there_is_a_point() -> None:
    assert minor_units("9" * 38, 0) == LARGEST
    assert minor_units("-" + "9" * 36 + ".99", 2) == -LARGEST
    with pytest.raises(MalformedAmount):
        minor_units("9" * 37 + ".00", 2)
    with pytest.raises(MalformedAmount):
        minor_units("1" + "0" * 36, 2)


@law
@given(minors, exponents, st.integers(1, 8))
def test_decimals_that_the_asset_has_not_are_refused_even_if_they_are_zeros(minor: int, exponent: int, more: int) -> None:
    text = decimal_text(minor // 10**20, exponent)
    with pytest.raises(TooManyDecimals):
        minor_units((text if exponent else text + ".") + "0" * more, exponent)


@law
@given(amounts, minors)
def test_adding_and_taking_away_are_exact_and_undo_each_other(amount: Amount, minor: int) -> None:
    other = Amount(minor, amount.asset)
    assume(abs(amount.minor + minor) <= LARGEST)
    assert (amount + other).minor == amount.minor + minor
    assert amount + other - other == amount
    assert amount - amount == Amount(0, amount.asset)
    assert -Amount(-amount.minor, amount.asset) == amount


@law
@given(amounts, minors)
def test_amounts_are_ordered_as_their_numbers_are(amount: Amount, minor: int) -> None:
    other = Amount(minor, amount.asset)
    assert (amount < other, amount <= other, amount == other) == (
        amount.minor < minor,
        amount.minor <= minor,
        amount.minor == minor,
    )
    assert bool(amount) == (amount.minor != 0)


@law
@given(amounts, amounts)
def test_two_assets_are_never_added_or_compared(amount: Amount, other: Amount) -> None:
    assume(amount.asset != other.asset)
    for mix in (Amount.__add__, Amount.__sub__, Amount.__lt__):
        with pytest.raises(MixedAssets):
            mix(amount, other)
    assert amount != other


@law
@given(st.integers(LARGEST + 1), st.booleans(), assets)
def test_an_amount_beyond_38_digits_cannot_be_made(minor: int, negative: bool, asset: Asset) -> None:
    with pytest.raises(MalformedAmount):
        Amount(-minor if negative else minor, asset)


@law
@given(amounts, rates, st.sampled_from(Rounding))
@example(Amount(250, Asset("USD", 2)), Decimal(1), Rounding.HALF_EVEN)
@example(Amount(-250, Asset("USD", 2)), Decimal(1), Rounding.HALF_UP)
def test_a_percentage_is_what_exact_arithmetic_rounded_once_gives(amount: Amount, rate: Decimal, rounding: Rounding) -> None:
    with localcontext(Context(prec=500)):
        expected = (Decimal(amount.minor) * rate / 100).quantize(Decimal(1), rounding=rounding.value)
    assume(abs(expected) <= LARGEST)
    assert percentage(amount, rate, rounding) == Amount(int(expected), amount.asset)


@law
@given(amounts, rates)
def test_the_roundings_lie_on_their_side_of_the_exact_percentage(amount: Amount, rate: Decimal) -> None:
    exact = Fraction(amount.minor) * Fraction(rate) / 100
    assume(abs(exact) < LARGEST)
    rounded = {each: percentage(amount, rate, each).minor for each in Rounding}
    assert rounded[Rounding.FLOOR] <= exact <= rounded[Rounding.CEILING]
    assert abs(rounded[Rounding.DOWN]) <= abs(exact) <= abs(rounded[Rounding.UP])
    assert max(abs(rounded[each] - exact) for each in (Rounding.HALF_EVEN, Rounding.HALF_UP)) <= Fraction(1, 2)
    assert max(abs(each - exact) for each in rounded.values()) < 1


@law
@given(amounts, some_weights)
def test_the_parts_of_an_amount_add_up_to_it_exactly(amount: Amount, parts: list[int | Decimal]) -> None:
    shares = allocate(amount, parts)
    assert len(shares) == len(parts)
    assert sum(each.minor for each in shares) == amount.minor
    assert {each.asset for each in shares} == {amount.asset}


@law
@given(amounts, some_weights)
def test_no_part_is_a_whole_unit_away_from_its_exact_share(amount: Amount, parts: list[int | Decimal]) -> None:
    whole = sum((Fraction(each) for each in parts), Fraction())
    exact = [amount.minor * Fraction(each) / whole for each in parts]
    shares = [each.minor for each in allocate(amount, parts)]
    assert all(abs(share - wanted) < 1 for share, wanted in zip(shares, exact, strict=True))
    assert all(share == 0 for share, weight in zip(shares, parts, strict=True) if weight == 0)


@law
@given(amounts, some_weights)
def test_the_units_left_over_go_to_the_largest_remainders_and_then_to_the_first(
    amount: Amount, parts: list[int | Decimal]
) -> None:
    size = abs(amount.minor)
    whole = sum((Fraction(each) for each in parts), Fraction())
    exact = [size * Fraction(each) / whole for each in parts]
    got_one = [abs(share.minor) > wanted // 1 for share, wanted in zip(allocate(amount, parts), exact, strict=True)]
    served = [(-(wanted % 1), place) for place, wanted in enumerate(exact) if got_one[place]]
    waiting = [(-(wanted % 1), place) for place, wanted in enumerate(exact) if not got_one[place]]
    assert not served or not waiting or max(served) < min(waiting)


@law
@given(amounts, some_weights, st.integers(1, 10**9))
def test_only_the_proportion_of_the_weights_counts(amount: Amount, parts: list[int | Decimal], factor: int) -> None:
    with localcontext(Context(prec=100)):
        scaled = [each * factor for each in parts]
    assert allocate(amount, scaled) == allocate(amount, parts)
    assert allocate(-amount, parts) == [-each for each in allocate(amount, parts)]


@law
@given(amounts, st.lists(st.just(0), max_size=5))
def test_nothing_is_allocated_by_nothing(amount: Amount, zeros: list[int]) -> None:
    for useless in (zeros, [*zeros, -1], [*zeros, 3, -1]):
        with pytest.raises(NothingToAllocateBy):
            allocate(amount, useless)


@pytest.mark.parametrize(("code", "exponent"), [("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("EUR", 2)])
def test_a_currency_has_the_decimals_of_iso_4217(code: str, exponent: int) -> None:
    assert iso(code) == Asset(code, exponent)


@pytest.mark.parametrize("code", ["XAU", "XDR", "XTS", "usd", "US", "USDC", "", "ABC"])
def test_metals_and_test_codes_and_inventions_are_no_currencies(code: str) -> None:
    assert iso(code) is None
