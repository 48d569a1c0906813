"""Verify an exported audit trail offline, with nothing but Python.

    python3 verify_audit.py EXPORT [HEAD]

EXPORT is what `clearhouse audit export` wrote; HEAD is what `clearhouse audit head` printed earlier and was kept elsewhere.
Each line has a digest over what it says, and a link over the link before it, its number and its digest. The script names the
first row that was altered, removed or put in, and exits with 1. Without a head it cannot know what was cut off at the end.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path


def verify(rows: Iterable[str], head: str = "") -> tuple[bool, str]:
    """Return whether the trail is whole, and a sentence."""
    chain, number = bytes(32), 0
    kept, _, kept_chain = head.partition(":")
    if kept == "0" and kept_chain != chain.hex():
        return False, "your head is not of this trail: before its first row there is another"
    for text in rows:
        row = json.loads(text)
        digest, fault = _digest(row), _misplaced(row["number"], number + 1)
        if fault or digest.hex() != row["digest"]:
            return False, fault or f"row {row['number']} was altered after it was written"
        number = row["number"]
        chain = hashlib.sha256(chain + number.to_bytes(8, "big") + digest).digest()
        if chain.hex() != row["chain"]:
            return False, f"row {number} was put in: it does not follow the rows before it"
        if kept == str(number) and kept_chain != row["chain"]:
            return False, f"row {number} is not the one that your head was made of: the trail was written anew"
    if kept and int(kept) > number:
        return False, f"rows {number + 1} to {kept} are missing: your head is of row {kept}"
    return True, f"{number} rows, whole and in order; the head is {number}:{chain.hex()}"


def _digest(row: dict[str, str]) -> bytes:
    told = f"{row['book']}\n{row['at']}\n{row['kind']}\n{row['principal']}\n{row['lines']}"
    return hashlib.sha256(told.encode()).digest()


def _misplaced(number: int, expected: int) -> str:
    if number == expected:
        return ""
    return f"row {expected} is missing" if number > expected else f"row {number} was put in: it is there already"


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit(__doc__)
    with Path(sys.argv[1]).open(encoding="utf-8") as export:
        whole, sentence = verify(export, *sys.argv[2:])
    print(sentence)
    sys.exit(0 if whole else 1)
