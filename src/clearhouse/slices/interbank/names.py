"""Names of those nobody settles with unseen: a list, and a search in it that forgives spelling, order and alphabets.

Promise: a hit never drops a settlement; it makes a person look. A name that matches letter by letter is always a hit.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from anyascii import anyascii
from rapidfuzz import fuzz, process

SIMILAR_PERCENT_MIN = 88
_NO_LETTER = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=100_000)
def plain(name: str) -> str:
    """Return a name in small Latin letters, its words in order of the alphabet: `Šarić, Ana` and `ana saric` are one."""
    return " ".join(sorted(_NO_LETTER.sub(" ", anyascii(name).lower()).split()))


class Screen:
    """A list to look names up in."""

    def __init__(self, names: Iterable[str]) -> None:
        self._listed = {plain(each): each for each in names}
        self._plain = list(self._listed)
        self._known: dict[str, str | None] = {}

    def hit(self, name: str) -> str | None:
        """Return the listed name that a name is most like, if it is like any."""
        wanted = plain(name)
        if not wanted or not self._plain:
            return None
        if wanted not in self._known:
            if len(self._known) > 100_000:  # noqa: PLR2004 - names that were met, bounded
                self._known.clear()
            found = process.extractOne(wanted, self._plain, scorer=fuzz.ratio, score_cutoff=SIMILAR_PERCENT_MIN)
            self._known[wanted] = None if found is None else self._listed[found[0]]
        return self._known[wanted]
