"""Rounds: the stream of records is cut, and what lies before the cut is settled, or hidden where it was wrong.

Promises: a record in flight lands in exactly one round; ending a round touches none of its sums, so nobody waits for them;
what a settled round comes to never changes; clearing hides and destroys nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Refusal
from clearhouse.slices.records import bookings, structures
from clearhouse.slices.records.refusals import RoundUnknown
from clearhouse.slices.records.structures import Structure

LAST = 2**62
_sql = Statements.of("clearhouse.slices.records", "rounds.sql")


class End(msgspec.Struct, frozen=True):
    """End the round of a structure; `number`, `dispute_hours` and `books` are the structure's own."""

    settleid: str
    number: int
    dispute_hours: int
    by: str
    books: bool = False


class Ended(msgspec.Struct, frozen=True):
    """A round that is over, and the change that ended it."""

    round: int
    change: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Round:
    """A settled round."""

    round: int
    change: int
    at: datetime
    by_whom: str
    disputable_until: datetime


async def settle(tx: Tx, asked: Sequence[Asked[End]], at: datetime) -> list[Ended | Refusal]:
    """End rounds to settle them."""
    return await _ended(tx, asked, "Settle", at)


async def clear(tx: Tx, asked: Sequence[Asked[End]], at: datetime) -> list[Ended | Refusal]:
    """End rounds to hide them."""
    return await _ended(tx, asked, "Clear", at)


async def _ended(
    tx: Tx, asked: Sequence[Asked[End]], operation: Literal["Settle", "Clear"], at: datetime
) -> list[Ended | Refusal]:
    """End the round of each structure; of those that are asked for again in one batch, one pass after another."""
    answers: dict[int, Ended] = {}
    left: list[Asked[End]] = list(asked)
    while left:
        first: dict[int, Asked[End]] = {each.command.number: each for each in reversed(left)}
        answers |= await _pass(tx, list(first.values()), operation, at)
        left = [each for each in left if id(each) not in answers]
    return [answers[id(each)] for each in asked]


async def _pass(
    tx: Tx, asked: Sequence[Asked[End]], operation: Literal["Settle", "Clear"], at: datetime
) -> dict[int, Ended]:
    commands = [each.command for each in asked]
    steps = [structures.Step(each.settleid, each.number, each.by) for each in commands]
    heads = await structures.end_rounds(tx, steps, operation, at)
    found = [Ended(head.round - 1, head.changes, head.at) for head in (heads[each.number] for each in commands)]
    until = [ended.at + timedelta(hours=each.dispute_hours) for ended, each in zip(found, commands, strict=True)]
    numbers = [each.number for each in commands]
    tx.later(
        _sql["end"], book=tx.book, structures=numbers, rounds=[each.round for each in found],
        changes=[each.change for each in found], at=[each.at for each in found], by=[each.by for each in commands],
        until=until, operation=operation, ended="settled" if operation == "Settle" else "cleared",
        settled=[heads[number].settled_at for number in numbers], added=[heads[number].added for number in numbers],
    )  # fmt: skip
    if operation == "Settle":
        bookings.owe(tx, [(each.number, ended.round) for each, ended in zip(commands, found, strict=True) if each.books])
    return {id(each): ended for each, ended in zip(asked, found, strict=True)}


async def settled(tx: Tx, structure: Structure, *, before: int = LAST, most: int) -> list[Round]:
    """Return settled rounds, newest first."""
    return await tx.rows(_sql["rounds"], Round, book=tx.book, structure=structure.number, before=before, most=most)


async def find(tx: Tx, structure: Structure, number: int) -> Round:
    """Return one settled round."""
    found = await settled(tx, structure, before=number + 1, most=1)
    if not found or found[0].round != number:
        raise RoundUnknown(settleid=structure.settleid, round=str(number))
    return found[0]
