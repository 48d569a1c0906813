"""Policies: the rules of who releases a kind of subject, in levels, as rows that a new version leaves as they were.

Promise: rules that nobody could satisfy are refused with a sentence when they are written. A request keeps the version that
it was made under; what was taken back is a version too. Who may change them, and with whose word, is said in `changes`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from clearhouse import ids, money
from clearhouse.kernel.access.principals import PrincipalRef, readable
from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.approvals.approvers import Rule, candidates, shortage
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger import accounts
from clearhouse.kernel.ledger.accounts import AssetUnknown
from clearhouse.money import Amount
from clearhouse.refusals import Kind, Malformed, Refusal

LEVELS_MAX = 10
HOURS = 7 * 24
HOURS_MAX = 366 * 24
sql = Statements.of("clearhouse.kernel.approvals", "approvals.sql")
KIND = r"[a-z][a-z0-9_]*([.][a-z0-9_]+)*"
SubjectKind = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=63, pattern=rf"^{KIND}$(?!\n)", examples=["batch.release"]),
]


VERSION_MAX = 2**31 - 1


class PolicyNotFound(Refusal):
    """There are no rules for approving {kind} here."""

    code = "policy_not_found"
    kind = Kind.UNKNOWN


class NobodyCanApprove(Refusal):
    """Level {level} of {kind} asks for {count} people, and there are only {found} whom no other level needs."""

    code = "nobody_can_approve"
    kind = Kind.REFUSED


class ImpossibleThreshold(Refusal):
    """Level {level} cannot begin at {amount} {currency}: {problem}."""

    code = "impossible_threshold"
    kind = Kind.REFUSED


class ReleasedByNobody(Refusal):
    """Every level begins at some amount, so nobody would be asked below it; one level must always be asked."""

    code = "released_by_nobody"
    kind = Kind.REFUSED


class Sum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An amount of one asset."""

    amount: Annotated[str, msgspec.Meta(max_length=80, examples=["10000.00"])]
    currency: Annotated[str, msgspec.Meta(max_length=16, examples=["USD"])]


class Level(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How many different people a level asks for: those with a role, or some of those who are named.

    With `at_least`, only amounts from there on come to it; an asset that is not listed always does.
    """

    role: Role | None = None
    people: Annotated[list[PrincipalRef], msgspec.Meta(max_length=100)] = []
    count: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    at_least: Annotated[list[Sum], msgspec.Meta(max_length=100)] = []


Levels = Annotated[list[Level], msgspec.Meta(min_length=1, max_length=LEVELS_MAX)]
Hours = Annotated[int, msgspec.Meta(ge=1, le=HOURS_MAX)]


class SetPolicy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Set the rules for a kind of subject; whoever created, edited or submitted one is always left out."""

    kind: SubjectKind
    levels: Levels
    hours: Hours = HOURS


class RetirePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take the rules for a kind of subject back: nothing of the kind can be asked for until there are others."""

    kind: SubjectKind


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rules for a kind of subject; a request ends by itself after so many hours.

    `approval` is the request by which others agree to it; until they have, it is version 0 and holds for nobody.
    """

    kind: str
    version: int
    levels: list[Level]
    hours: int
    set_at: datetime
    set_by: str
    retired: bool = False
    approval: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """A version of a policy as requests go by it."""

    kind: str
    version: int
    hours: int
    set_at: datetime
    set_by: UUID
    levels: tuple[Rule, ...] = ()
    retired: bool = False
    approval: UUID | None = None

    @property
    def policy(self) -> Policy:
        """Return it as it is shown."""
        levels = [shown(each) for each in self.levels]
        approval = None if self.approval is None else ids.text("apr", self.approval)
        by = ids.text("prn", self.set_by)
        return Policy(self.kind, self.version, levels, self.hours, self.set_at, by, self.retired, approval)


def shown(rule: Rule) -> Level:
    """Return a level as it is shown."""
    sums = [Sum(money.decimal_text(minor, exponent), asset) for asset, (minor, exponent) in sorted(rule.at_least.items())]
    return Level(rule.role, [ids.text("prn", each) for each in rule.people], rule.count, sums)


@dataclass(frozen=True, slots=True)
class _LevelRow:
    kind: str
    version: int
    level: int
    role: Role | None
    people: list[UUID]
    count: int
    assets: list[str]
    exponents: list[int]
    amounts: list[int]

    @property
    def rule(self) -> Rule:
        at_least = dict(zip(self.assets, zip(self.amounts, self.exponents, strict=True), strict=True))
        return Rule(self.level, self.role, tuple(self.people), self.count, at_least)


async def written(
    tx: Tx, command: SetPolicy, before: Rules | None, *, by: UUID, at: datetime, without: Collection[UUID] = ()
) -> Rules | Refusal:
    """Return the next version that a command asks for, the one before if it is the same; nothing is written yet."""
    exponents = await accounts.exponents(tx)
    try:
        wanted = tuple(_rule(place, level, exponents) for place, level in enumerate(command.levels, start=1))
    except Refusal as refusal:
        return refusal
    if all(rule.at_least for rule in wanted):
        return ReleasedByNobody()
    short = shortage(wanted, await candidates(tx), without)
    if short is not None:
        rule, found = short
        return NobodyCanApprove(kind=command.kind, level=str(rule.level), count=str(rule.count), found=str(found))
    if before is not None and (before.levels, before.hours) == (wanted, command.hours):
        return before
    return Rules(command.kind, number(before) + 1, command.hours, at, by, wanted)


def retired(before: Rules, *, by: UUID, at: datetime) -> Rules:
    """Return the version by which rules end."""
    return replace(before, version=before.version + 1, set_at=at, set_by=by, levels=(), retired=True, approval=None)


def number(rules: Rules | None) -> int:
    """Return the version of rules; of none, zero."""
    return 0 if rules is None else rules.version


def _rule(place: int, level: Level, exponents: Mapping[str, int]) -> Rule:
    people = sorted({readable("prn", each) for each in level.people})
    if (level.role is None) == (not people):
        raise Malformed(field=f"level {place}", problem="it names either a role or people")
    at_least: dict[str, tuple[int, int]] = {}
    for each in level.at_least:
        amount = _amount(each, exponents)
        problem = (
            "it is not above zero" if amount.minor <= 0 else "" if each.currency not in at_least else "there is another"
        )
        if problem:
            raise ImpossibleThreshold(level=str(place), amount=each.amount, currency=each.currency, problem=problem)
        at_least[each.currency] = (amount.minor, amount.asset.exponent)
    return Rule(place, level.role, tuple(people), level.count, at_least)


def _amount(given: Sum, exponents: Mapping[str, int]) -> Amount:
    asset = money.iso(given.currency)
    if asset is None:
        if given.currency not in exponents:
            raise AssetUnknown(asset=given.currency)
        asset = money.Asset(given.currency, exponents[given.currency])
    return Amount.parse(given.amount, asset)


async def add(tx: Tx, made: Rules) -> None:
    """Write a version; two at once meet at its number."""
    named = {"book": tx.book, "kind": made.kind, "version": made.version}
    await tx.do(
        sql["add_policy"], **named, hours=made.hours, at=made.set_at, by=made.set_by, retired=made.retired,
        approval=made.approval,
    )  # fmt: skip
    await tx.do(
        sql["add_levels"], **named, levels=[each.level for each in made.levels], roles=[each.role for each in made.levels],
        people=[array(each.people) for each in made.levels], counts=[each.count for each in made.levels],
    )  # fmt: skip
    thresholds = [(each.level, asset, its) for each in made.levels for asset, its in each.at_least.items()]
    await tx.do(
        sql["add_thresholds"], **named, levels=[level for level, _, _ in thresholds],
        assets=[asset for _, asset, _ in thresholds], exponents=[exponent for _, _, (_, exponent) in thresholds],
        amounts=[minor for _, _, (minor, _) in thresholds],
    )  # fmt: skip


async def current(tx: Tx, kinds: Sequence[str]) -> dict[str, Rules]:
    """Return the rules that hold now, by kind of subject."""
    return {kind: rules for kind, rules in (await last(tx, kinds)).items() if not rules.retired}


async def last(tx: Tx, kinds: Sequence[str]) -> dict[str, Rules]:
    """Return the last version of rules by kind of subject, be it that they were taken back."""
    found = await tx.rows(sql["policies"], Rules, book=tx.book, kinds=sorted(set(kinds)))
    return {each.kind: each for each in await _whole(tx, found)}


async def levels(tx: Tx, versions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[Rule, ...]]:
    """Return the levels of versions of rules."""
    asked = sorted(set(versions))
    rows = await tx.rows(
        sql["levels"], _LevelRow, book=tx.book, kinds=[kind for kind, _ in asked], versions=[number for _, number in asked]
    )
    found: dict[tuple[str, int], tuple[Rule, ...]] = {}
    for row in rows:
        found[row.kind, row.version] = (*found.get((row.kind, row.version), ()), row.rule)
    return found


async def _whole(tx: Tx, found: Sequence[Rules]) -> list[Rules]:
    found_levels = await levels(tx, [(each.kind, each.version) for each in found])
    return [replace(each, levels=found_levels.get((each.kind, each.version), ())) for each in found]


async def find(tx: Tx, kind: str) -> Policy:
    """Return the rules that hold now for a kind of subject."""
    found = await current(tx, [kind]) if re.fullmatch(KIND, kind) else {}
    if kind not in found:
        raise PolicyNotFound(kind=kind)
    return found[kind].policy


async def known(tx: Tx, kind: str) -> str:
    """Return a kind of subject that has rules here, or had some."""
    if not re.fullmatch(KIND, kind) or not await last(tx, [kind]):
        raise PolicyNotFound(kind=kind)
    return kind


async def versions(tx: Tx, kind: str, *, before: int = VERSION_MAX, most: int = 100) -> list[Policy]:
    """Return every version that the rules for a kind of subject had, newest first."""
    found = await tx.rows(sql["versions"], Rules, book=tx.book, kind=await known(tx, kind), before=before, most=most)
    return [each.policy for each in await _whole(tx, found)]


async def policies(tx: Tx, *, after: str = "", most: int = 100) -> list[Policy]:
    """Return the rules that hold now, by kind of subject."""
    found = await tx.rows(sql["policies_page"], Rules, book=tx.book, after=after, most=most)
    return [each.policy for each in await _whole(tx, found)]
