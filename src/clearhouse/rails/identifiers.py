"""Identifiers: BIC and IBAN, as they stand in messages. What a person typed is brought into that form first, by `plain`.

Promise: what passes has the structure of its country and every check digit that is known there, so one wrong or two swapped
characters of an IBAN never pass. Whether the bank or the account exists, only they know.
"""

import re
import warnings

from schwifty import BIC, IBAN
from schwifty.exceptions import NationalChecksumNotVerified, SchwiftyException

_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{10,30}")
_BIC = re.compile(r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_KOSOVO, _ANY = "XK", "AL"  # Kosovo's code is not in ISO 3166, and used by every bank there
_HEAD_OFFICE = "X" * 3
_PLACE = 8


def plain(given: str) -> str:
    """Return what a person typed as a message has it: in capitals, without spaces and hyphens."""
    return given.upper().replace(" ", "").replace("-", "") if given.isascii() else given


def is_iban(text: str) -> bool:
    """Tell whether a text is an IBAN in its electronic form."""
    if _IBAN.fullmatch(text) is None:  # the library forgives blanks, ends of lines and small letters; a message must not
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NationalChecksumNotVerified)  # some countries have digits that nobody published
            IBAN(text, validate_bban=True)
    except (SchwiftyException, ValueError):
        return False
    return True


def is_bic(text: str) -> bool:
    """Tell whether a text is a BIC: four letters, a country, two letters or digits, and perhaps three of a branch."""
    if _BIC.fullmatch(text) is None:
        return False
    try:
        BIC(text.replace(_KOSOVO, _ANY) if text[4:6] == _KOSOVO else text)
    except (SchwiftyException, ValueError):
        return False
    return True


def whole(bic: str) -> str:
    """Return a BIC with its branch; one of eight characters is the head office."""
    return bic if len(bic) > _PLACE else bic + _HEAD_OFFICE


def is_same_bank(one: str, other: str) -> bool:
    """Tell whether two BICs are of one bank in one place, whatever the branches."""
    return one[:_PLACE] == other[:_PLACE]


def country(text: str) -> str:
    """Return the country of an IBAN or a BIC that has passed."""
    return text[4:6] if _BIC.fullmatch(text) else text[:2]
