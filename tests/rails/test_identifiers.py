"""BIC and IBAN to the letter: what is right passes, and no slip of the finger does."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhouse.rails.identifiers import country, is_bic, is_iban, is_same_bank, plain, whole
from trying import law

IBANS = [
    "AT611904300234573201", "BE68539007547034",
    "CH9300762011623852957", "DE89370400440532013000", "ES9121000418450200051332",
    "FR1420041010050500013M02606", "GB29NWBK60161331926819", "IT60X0542811101000000123456", "NL91ABNA0417164300",
    "NO9386011117947", "PL61109010140000071219812874", "SE4550000000058398257466",
]  # fmt: skip
HEAD_OFFICE = f"CHASUS33{3 * 'X'}"
BICS = ["DEUTDEFF", "DEUTDEFF500", "CHASUS33", HEAD_OFFICE, "BNPAFRPP", "KOSOXKPR", "SABRRUMM"]
WRONG_IBANS = [
    "", "DE", "DE8937040044053201300", "DE893704004405320130000", "DE88370400440532013000", "US89370400440532013000",
    "XX89370400440532013000", "GB29NWBK6016133192681\u0669", "DE89 3704 0044 0532 0130 00", "de89370400440532013000",
    "D" * 500, "DE89370400440532013000\n", "DE89370400440532013000\0",
]  # fmt: skip
WRONG_BICS = [
    "", "DEUTDEF", "DEUTDEFF5", "DEUTDEFF50", "DEUTDEFF5000", "DEUTXXFF", "12345678", "1EUTDEFF", "DEUTDEFF\u0660",
    "deutdeff", "DEUT DEFF", "DEUTDEFF\n", "D" * 500,
]  # fmt: skip
CHARACTERS = string.digits + string.ascii_uppercase


@pytest.mark.parametrize("iban", IBANS)
def test_an_iban_passes_and_printed_for_people_it_is_the_same(iban: str) -> None:
    printed = " ".join(iban[start : start + 4] for start in range(0, len(iban), 4)).lower()
    assert is_iban(iban)
    assert plain(printed) == iban
    assert (country(iban), is_bic(iban), is_iban(printed)) == (iban[:2], False, False)


@law
@given(st.sampled_from(IBANS), st.data())
def test_no_iban_with_one_wrong_character_passes(iban: str, draw: st.DataObject) -> None:
    place = draw.draw(st.integers(0, len(iban) - 1))
    wrong = draw.draw(st.sampled_from([each for each in CHARACTERS if each != iban[place]]))
    assert not is_iban(iban[:place] + wrong + iban[place + 1 :])


@law
@given(st.sampled_from(IBANS), st.data())
def test_no_iban_with_two_neighbours_swapped_passes(iban: str, draw: st.DataObject) -> None:
    place = draw.draw(st.sampled_from([each for each in range(len(iban) - 1) if iban[each] != iban[each + 1]]))
    assert not is_iban(iban[:place] + iban[place + 1] + iban[place] + iban[place + 2 :])


@pytest.mark.parametrize("wrong", WRONG_IBANS)
def test_what_is_not_quite_an_iban_does_not_pass(wrong: str) -> None:
    assert not is_iban(wrong)


@pytest.mark.parametrize("bic", BICS)
def test_a_bic_passes_with_its_country(bic: str) -> None:
    assert is_bic(bic)
    assert (country(bic), is_iban(bic)) == (bic[4:6], False)


@pytest.mark.parametrize("wrong", WRONG_BICS)
def test_what_is_not_quite_a_bic_does_not_pass(wrong: str) -> None:
    assert not is_bic(wrong)


@law
@given(st.text())
def test_whatever_is_typed_is_answered(text: str) -> None:
    assert not (is_iban(text) and is_bic(text))


def test_a_bic_without_a_branch_is_the_head_office_of_the_same_bank() -> None:
    assert (whole("DEUTDEFF"), whole("DEUTDEFF500")) == (f"DEUTDEFF{3 * 'X'}", "DEUTDEFF500")
    assert is_same_bank("DEUTDEFF", "DEUTDEFF500")
    assert not is_same_bank("DEUTDEFF", "DEUTDEBB")
