"""Account codes and asset codes: what they look like, and nothing else.

A code is 1 to 8 segments joined by colons, case kept: `program:42:revenue`, `nostro:DEUTDEFF:EUR`. It never looks like an
account's id, so that either may stand wherever an account is named.
"""

import re

_CODE = re.compile(r"(?!acc_)[A-Za-z0-9_.-]{1,64}(:[A-Za-z0-9_.-]{1,64}){0,7}")
_ASSET = re.compile(r"[A-Z][A-Z0-9_.-]{1,15}")


def is_code(text: str) -> bool:
    """Tell whether a text can be an account's code."""
    return _CODE.fullmatch(text) is not None


def is_asset(text: str) -> bool:
    """Tell whether a text can be an asset's code."""
    return _ASSET.fullmatch(text) is not None
