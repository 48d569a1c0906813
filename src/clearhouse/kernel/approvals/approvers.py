"""Approvers: who a level asks for, and whether there are enough different people for all levels together.

A person takes part in one level only, so levels compete for people: counting each level by itself is not enough. Whether
all can be filled is a matching of places with people, and what is found short is named.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from clearhouse.kernel.access.roles import SCOPES, Role
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements

DECIDE = "approvals:decide"
DECIDING: tuple[Role, ...] = tuple(role for role, scopes in SCOPES.items() if DECIDE in scopes)
_sql = Statements.of("clearhouse.kernel.approvals", "approvals.sql")


@dataclass(frozen=True, slots=True)
class Rule:
    """A level: how many different people it asks for, and which. `at_least` holds minor units and exponent by asset."""

    level: int
    role: Role | None
    people: tuple[UUID, ...]
    count: int
    at_least: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def asks_for(self, somebody: "Standing") -> bool:
        """Tell whether somebody who may decide at all may decide here."""
        return somebody.id in self.people or self.role in somebody.roles

    def is_for(self, amounts: Mapping[str, tuple[int, int]]) -> bool:
        """Tell whether it is asked about these amounts; what it says nothing of comes to it.

        Amounts are minor units and exponent by asset: whoever counts an asset with other decimals is not below for that.
        """
        if not self.at_least or not amounts:
            return True
        return any(
            asset not in self.at_least or minor * 10 ** self.at_least[asset][1] >= self.at_least[asset][0] * 10**exponent
            for asset, (minor, exponent) in amounts.items()
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody is in a book at this moment."""

    id: UUID
    kind: str
    roles: list[str]

    @property
    def decides(self) -> bool:
        """Tell whether it may decide on anything: a person with a role that lets it."""
        return self.kind == "person" and not set(self.roles).isdisjoint(DECIDING)


async def candidates(tx: Tx) -> list[Standing]:
    """Return everybody who may decide on something in the book."""
    return await tx.rows(_sql["candidates"], Standing, book=tx.book, deciding=list(DECIDING))


async def standing(tx: Tx, principals: Iterable[UUID]) -> dict[UUID, Standing]:
    """Return what principals are in the book at this moment; who is shut out is nothing."""
    found = await tx.rows(_sql["standing"], Standing, book=tx.book, ids=sorted(set(principals)))
    return {each.id: each for each in found}


def shortage(
    rules: Sequence[Rule], people: Sequence[Standing], without: Collection[UUID] = frozenset()
) -> tuple[Rule, int] | None:
    """Return the first level that cannot be filled with people of its own, and how many there are for it."""
    places = sum(rule.count for rule in rules)
    taken: dict[UUID, int] = {}
    able: list[list[UUID]] = []
    for place, rule in enumerate(rules):
        # As many as all levels need together are always enough for one, so nobody looks at ten thousand.
        asked = (each.id for each in people if each.id not in without and rule.asks_for(each))
        able.append(list(islice(asked, places)))
        for found in range(rule.count):
            if not _seated(place, able, taken, set()):
                return rule, found
    return None


def _seated(place: int, able: Sequence[Sequence[UUID]], taken: dict[UUID, int], tried: set[UUID]) -> bool:
    """Find one more person for a level, if need be by finding another for the level that has them."""
    for person in able[place]:
        if person in tried:
            continue
        tried.add(person)
        if person not in taken or _seated(taken[person], able, taken, tried):
            taken[person] = place
            return True
    return False
