"""Bookings: the positions of a settled round as transactions of the ledger, once, whoever comes to post them.

Promise: a round whose structure is netted in a currency is owed to the ledger from the moment that it is settled; it is
posted whole, under ids that come of the round, so that posting it again finds it there. What is refused stays owed, is tried
again, and holds up no other.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import DatabaseFault
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger import accounts, posting
from clearhouse.kernel.ledger.accounts import OpenAccount
from clearhouse.kernel.ledger.transfers import Leg, PostTransaction
from clearhouse.refusals import Refusal
from clearhouse.slices.records import states, structures
from clearhouse.slices.records.settlements.net import positions
from clearhouse.slices.records.structures import Structure

LEGS_MAX = 1_000
SECONDS_BETWEEN = 1.0
TRIES = (False, True, True, True)
_SEGMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_sql = Statements.of("clearhouse.slices.records", "bookings.sql")
_log = structlog.get_logger(__name__)


class Booked(msgspec.Struct, frozen=True):
    """A round that is in the ledger: its transactions; none if nobody owes anything."""

    settleid: str
    round: int
    transactions: list[str]


@dataclass(frozen=True, slots=True)
class _Due:
    book: int
    structure: int
    settleid: str
    round: int


@dataclass(frozen=True, slots=True)
class _Claim:
    state: str
    transactions: list[str]


def owe(tx: Tx, owed: Sequence[tuple[int, int]]) -> None:
    """Remember, with the commit, that rounds of structures are to be posted."""
    if owed:
        numbers, rounds = [number for number, _ in owed], [round_ for _, round_ in owed]
        tx.later(_sql["owe"], book=tx.book, structures=numbers, rounds=rounds)


async def post(tx: Tx, settleid: str, round_: int, at: datetime) -> Booked | Refusal | None:
    """Post a round that is owed; None if nothing is."""
    structure = await structures.find(tx, settleid)
    claim = await tx.row(_sql["claim"], _Claim, book=tx.book, structure=structure.number, round=round_)
    if claim is None or claim.state != "due":
        return None
    legs = _legs(structure, positions(await states.cells(tx, structure, round_)))
    try:
        async with tx.attempt():
            transactions = await _posted(tx, structure, round_, legs, at)
    except Refusal as refusal:
        return refusal
    await tx.do(_sql["booked"], book=tx.book, structure=structure.number, round=round_, transactions=transactions)
    return Booked(settleid, round_, transactions)


async def _posted(tx: Tx, structure: Structure, round_: int, legs: Sequence[Leg], at: datetime) -> list[str]:
    codes = sorted({code for leg in legs for code in (leg.debit, leg.credit) if code is not None})
    accounts_ = [OpenAccount(code=code, asset=structure.asset or "") for code in codes]
    wanted = [Asked(each, ids.fresh(), writing.SYSTEM) for each in accounts_]
    own = ids.derived("records.booking", str(tx.book), str(structure.number), str(round_))
    commands = [
        PostTransaction(list(legs[start : start + LEGS_MAX]), reference=f"{structure.settleid} round {round_}"[:200])
        for start in range(0, len(legs), LEGS_MAX)
    ]
    asked = [
        Asked(command, ids.derived("records.booking", str(own), str(place)), writing.SYSTEM)
        for place, command in enumerate(commands)
    ]
    opened = await accounts.open_accounts(tx, wanted, at) if wanted else []
    answers = [*opened, *(await posting.post(tx, asked, at) if asked else [])]
    for answer in answers:
        if isinstance(answer, Refusal):
            raise answer
    return [ids.text("trx", each.id) for each in asked]


def _legs(structure: Structure, owed: dict[tuple[str, str, str], structures.Number]) -> list[Leg]:
    return [
        Leg(
            debit=account_of(structure, debtor), credit=account_of(structure, creditor), currency=structure.asset,
            amount=f"{amount:.{structure.exponent}f}",
        )
        for (debtor, creditor, _), amount in sorted(owed.items())
    ]  # fmt: skip


def account_of(structure: Structure, organisation: str) -> str:
    """Return the code of an organisation's account: its name, or where no code can hold that, a digest of it."""
    return ":".join(["records", *(_segment(name) for name in (structure.settleid, organisation))])


def _segment(name: str) -> str:
    return name if _SEGMENT.fullmatch(name) else "x-" + hashlib.sha256(name.encode()).hexdigest()[:40]


async def book(database: Database) -> None:
    """Post whatever is owed to the ledger, again and again, until cancelled."""
    await database.loops.forever("book_rounds", lambda: book_due(database), SECONDS_BETWEEN)


async def book_due(database: Database, *, most: int = 100) -> list[Booked]:
    """Post rounds that are owed, each in a transaction of its own; return those that were posted."""
    found: list[Booked] = []
    after = {"book": 0, "structure": 0, "round": 0}
    while True:
        async with database.writing() as tx:
            due = await tx.rows(_sql["due"], _Due, most=most, **after)
        for each in due:
            booked = await _book_one(database, each)
            found += [] if booked is None else [booked]
        if len(due) < most:
            return found
        after = {"book": due[-1].book, "structure": due[-1].structure, "round": due[-1].round}


async def _book_one(database: Database, due: _Due) -> Booked | None:
    try:
        return await book_one(database, due.book, due.settleid, due.round)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this round's affair, and the others are posted
        _log.warning("a round was not posted, tried again soon", settleid=due.settleid, round=due.round, exc_info=error)
        return None


async def book_one(database: Database, number: int, settleid: str, round_: int) -> Booked | None:
    """Post one round if it is owed; somebody who comes between is met again, carefully."""
    for place, careful in enumerate(TRIES):
        at = clock.now()
        try:
            async with database.writing(book=number, careful=careful) as tx:
                booked = await post(tx, settleid, round_, at)
                if isinstance(booked, Booked):
                    line = Line("records.booked", settleid, booked)
                    writing.write(tx, [line], book=number, kind="records.book", by=writing.SYSTEM, at=at)
        except DatabaseFault:
            if place == len(TRIES) - 1:
                raise
            continue
        if isinstance(booked, Refusal):
            _log.warning("a round cannot be posted yet", settleid=settleid, round=round_, reason=str(booked))
            return None
        return booked
    return None
