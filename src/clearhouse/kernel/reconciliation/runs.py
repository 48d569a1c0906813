"""Runs: what was loaded since the last one and what is still open, matched by the rules as they are now.

Promise: what was given is what is matched and what is open, per side and asset; a run that is made again over what it was
given comes to the same digest; a difference that cannot be posted leaves no run.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.approvals.requests import Edit
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger import accounts
from clearhouse.kernel.reconciliation import matching, posting, rules
from clearhouse.kernel.reconciliation.breaks import subject
from clearhouse.kernel.reconciliation.items import Side
from clearhouse.kernel.reconciliation.matching import Apart, Matching, Outcome
from clearhouse.kernel.reconciliation.posting import Difference
from clearhouse.kernel.reconciliation.rules import Name, RuleSetNotFound
from clearhouse.money import decimal_text
from clearhouse.refusals import Kind, Refusal

_sql = Statements.of("clearhouse.kernel.reconciliation", "runs.sql")


class RunNotFound(Refusal):
    """There is no run {id} here."""

    code = "run_not_found"
    kind = Kind.UNKNOWN


class StartRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Match what was loaded since the last run, and what that left open."""

    rule_set: Name


class RunSum(msgspec.Struct, frozen=True):
    """What a run was given of one side in one currency, and what became of it: new and carried is matched and open."""

    side: Side
    currency: str
    new_items: int
    new: str
    carried_items: int
    carried: str
    matched_items: int
    matched: str
    open_items: int
    open: str


class Run(msgspec.Struct, frozen=True):
    """A run that is done; `digest` is of everything that it matched."""

    id: str
    rule_set: str
    version: int
    at: datetime
    by: str
    matches: int
    digest: str
    sums: list[RunSum]


class RunVerified(msgspec.Struct, frozen=True):
    """What a run comes to if it is made again over what it was given, by the rules it was made by."""

    same: bool
    digest: str
    matches: int


@dataclass(frozen=True, slots=True)
class _Given:
    carried: str
    items: str
    loaded: int
    first: int
    last: int
    undone: int

    @property
    def dense(self) -> int:
        return matching.dense(self.loaded, self.first, self.last)


_NOTHING = _Given("{}", "{}", 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Row:
    id: UUID
    name: str
    version: int
    at: datetime
    by: UUID
    matches: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Sum:
    run: UUID
    side: Side
    asset: str
    exponent: int
    new_items: int
    new: int
    carried_items: int
    carried: int
    matched_items: int
    matched: int
    open_items: int
    open: int

    @property
    def shown(self) -> RunSum:
        new, carried, matched, still_open = (
            decimal_text(each, self.exponent) for each in (self.new, self.carried, self.matched, self.open)
        )
        return RunSum(
            self.side, self.asset, self.new_items, new, self.carried_items, carried, self.matched_items, matched,
            self.open_items, still_open,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Closed:
    item: int
    approval: UUID | None


async def start(tx: Tx, asked: Sequence[Asked[StartRun]], at: datetime) -> list[Run | Refusal]:
    """Make runs one after another, each whole or not at all."""
    held = {row.name: row for row in await rules.lock(tx, [each.command.rule_set for each in asked])}
    exponents = await accounts.exponents(tx)
    answers: list[Run | Refusal] = []
    for each in asked:
        row = held.get(each.command.rule_set)
        if row is None:
            answers.append(RuleSetNotFound(name=each.command.rule_set))
            continue
        try:
            async with tx.attempt():
                answers.append(await _run(tx, each, row, exponents, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _run(
    tx: Tx, asked: Asked[StartRun], row: rules.Row, exponents: Mapping[str, int], at: datetime
) -> Run:  # fmt: skip
    run, name = asked.id, row.name
    await matching.look_at_all(tx)
    await tx.do(_sql["take_loads"], book=tx.book, name=name, run=run)
    given = await tx.row(_sql["given"], _Given, book=tx.book, name=name, run=run) or _NOTHING
    left = await matching.left_of(tx, given.items, given.dense)
    work = Matching(tx, run, name, at, asked.by, left, given.first, await _apart(tx, given))
    await _apply(work, row, exponents)
    outcome = await matching.outcome(tx, run)
    await tx.do(
        _sql["add_sums"], book=tx.book, run=run, items=given.items, carried=given.carried, dense=given.dense
    )  # fmt: skip
    await tx.do(
        _sql["add_breaks"], book=tx.book, left=work.left.items, dense=work.left.dense(given.first), at=at,
        added_up=sorted({rule.by for rule in row.command.rules if rule.many}), most=matching.TOGETHER_MAX,
    )  # fmt: skip
    await matching.look_up(tx)
    closed = await tx.rows(_sql["close_breaks"], _Closed, book=tx.book, carried=given.carried, run=run, at=at)
    await tx.do(
        _sql["add_run"], book=tx.book, id=run, name=name, version=row.version, at=at, by=asked.by, carried=given.carried,
        undone=given.undone, matches=outcome.matches, digest=outcome.digest,
    )  # fmt: skip
    await requests.edited(tx, [Edit(subject(each.item), ids.NOBODY) for each in closed if each.approval is not None], at)
    differences = await tx.rows(_sql["differences"], Difference, book=tx.book, batch=run)
    await posting.post_differences(tx, row.command, "write_off", differences, by=asked.by, at=at)
    return await find(tx, ids.text("run", run))


async def _apply(work: Matching, row: rules.Row, exponents: Mapping[str, int]) -> None:
    for place, rule in enumerate(row.command.rules, start=1):
        await work.apply(place, rule, exponents)


async def _apart(tx: Tx, given: _Given) -> Apart:
    """Return which items a run may not match with each other: whatever was undone has a break, so it was found open."""
    found = await tx.row(_sql["apart"], Apart, book=tx.book, carried=given.carried, undone=given.undone)
    return found or Apart("{}", "{}", 0)


class _Made(Exception):
    """Ends what is to leave nothing behind."""


async def verify(tx: Tx, text: str, at: datetime) -> RunVerified:
    """Make a run again over what it was given, say what it comes to, and leave nothing of it."""
    row = await _find(tx, text)
    then = await rules.find(tx, row.name, row.version)
    await rules.lock(tx, [row.name])
    exponents = await accounts.exponents(tx)
    made: list[Outcome] = []
    with suppress(_Made):
        async with tx.attempt():
            made.append(await _again(tx, row, then, exponents, at))
            raise _Made
    return RunVerified(made[0].digest == row.digest, made[0].digest.hex(), made[0].matches)


async def _again(tx: Tx, row: _Row, then: rules.Row, exponents: Mapping[str, int], at: datetime) -> Outcome:
    again = ids.derived("reconciliation.again", str(row.id))
    await matching.look_at_all(tx)
    given = await tx.row(_sql["given_then"], _Given, book=tx.book, run=row.id) or _NOTHING
    await tx.do(_sql["part_all"], book=tx.book, items=given.items)
    left = await matching.left_of(tx, given.items, given.dense)
    work = Matching(tx, again, row.name, at, row.by, left, given.first, await _apart(tx, given))
    await _apply(work, then, exponents)
    return await matching.outcome(tx, again)


async def find(tx: Tx, text: str) -> Run:
    """Return a run with its sums."""
    return (await _shown(tx, [await _find(tx, text)]))[0]


async def listed(tx: Tx, name: str, *, before: str | None = None, most: int = 100) -> list[Run]:
    """Return the runs of a rule set, newest first."""
    await rules.find(tx, name)
    last = None if before is None else (await _find(tx, before)).id
    return await _shown(tx, await tx.rows(_sql["runs_page"], _Row, book=tx.book, name=name, before=last, most=most))


async def _find(tx: Tx, text: str) -> _Row:
    found = await tx.row(_sql["run"], _Row, book=tx.book, run=readable("run", text))
    if found is None:
        raise RunNotFound(id=text)
    return found


async def _shown(tx: Tx, rows: Sequence[_Row]) -> list[Run]:
    sums: defaultdict[UUID, list[RunSum]] = defaultdict(list)
    for each in await tx.rows(_sql["sums"], _Sum, book=tx.book, runs=[row.id for row in rows]):
        sums[each.run].append(each.shown)
    return [
        Run(
            ids.text("run", row.id), row.name, row.version, row.at, ids.text("prn", row.by), row.matches, row.digest.hex(),
            sums[row.id],
        )
        for row in rows
    ]  # fmt: skip
