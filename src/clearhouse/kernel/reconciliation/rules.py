"""Rules: what makes items of two sides belong together, in order, and where a difference goes.

Promise: a set that could match nothing, and a tolerance that has nowhere to go, are refused when they are written; a new
version leaves earlier runs as they were.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from clearhouse import ids, money
from clearhouse.asking import Asked
from clearhouse.kernel.approvals.policies import Sum
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger import accounts
from clearhouse.kernel.ledger.accounts import Account, AccountNotFound, AssetUnknown
from clearhouse.kernel.ledger.transfers import AccountName
from clearhouse.money import minor_units
from clearhouse.refusals import Kind, Refusal

DAYS_MAX = 31
RULES_MAX = 20
sql = Statements.of("clearhouse.kernel.reconciliation", "rules.sql")

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$(?!\n)", examples=["nostro-eur"])]
Title = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
By = Literal["reference", "end_to_end", "amount"]


class RuleSetNotFound(Refusal):
    """There is no rule set {name} here."""

    code = "rule_set_not_found"
    kind = Kind.UNKNOWN


class MatchesNothing(Refusal):
    """Rule {place} can match nothing: {reason}."""

    code = "matches_nothing"
    kind = Kind.REFUSED


class WindowImpossible(Refusal):
    """Rule {place} has a window of {days} days; there may be 0 to {most}."""

    code = "window_impossible"
    kind = Kind.REFUSED


class ToleranceRefused(Refusal):
    """Rule {place} tolerates {amount} {currency}: {reason}."""

    code = "tolerance_refused"
    kind = Kind.REFUSED


class AccountNeeded(Refusal):
    """A {part} needs the account that is reconciled, since the other leg of its transfers goes there."""

    code = "account_needed"
    kind = Kind.REFUSED


class AccountMissing(Refusal):
    """There is no account {account} in {asset} to post with; open it first."""

    code = "account_missing"
    kind = Kind.REFUSED


class ReconciledAccount(Refusal):
    """The {part} account is {account} itself, which is reconciled; what differs has to go elsewhere."""

    code = "reconciled_account"
    kind = Kind.REFUSED


class Rule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One way to belong together: by a text that both carry, or by amount and date within so many `days`.

    `many` matches one item of one side with several of the other, by their sum. `tolerance` is how much each currency may
    differ.
    """

    by: By
    many: bool = False
    days: int | None = None
    tolerance: Annotated[list[Sum], msgspec.Meta(max_length=200)] = []


class DefineRules(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Define a rule set, or replace its rules. `account` is what our side is the record of, in whatever currency."""

    name: Name
    rules: Annotated[list[Rule], msgspec.Meta(max_length=RULES_MAX)]
    title: Title = ""
    account: AccountName | None = None
    write_off: AccountName | None = None
    suspense: AccountName | None = None
    by_hand: bool = True


class RuleSet(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rules as they hold now. `by_hand` says whether people may match what adds up without anybody's approval."""

    name: str
    version: int
    rules: list[Rule]
    set_at: datetime
    set_by: str
    title: str = ""
    account: str | None = None
    write_off: str | None = None
    suspense: str | None = None
    by_hand: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """A version of a rule set as it is kept."""

    name: str
    version: int
    rules: str
    set_at: datetime
    set_by: UUID

    @property
    def command(self) -> DefineRules:
        """Return it as it was written."""
        return _decoder.decode(self.rules)

    @property
    def shown(self) -> RuleSet:
        """Return it as it is shown."""
        said = self.command
        return RuleSet(
            self.name, self.version, said.rules, self.set_at, ids.text("prn", self.set_by), said.title, said.account,
            said.write_off, said.suspense, said.by_hand,
        )  # fmt: skip


_decoder = msgspec.json.Decoder(DefineRules)


async def define(tx: Tx, asked: Sequence[Asked[DefineRules]], at: datetime) -> list[RuleSet | Refusal]:
    """Define rule sets one after another; the same again changes nothing."""
    exponents = await accounts.exponents(tx)
    faults = {each.id: await _fault(tx, each.command, exponents) for each in asked}
    names = sorted({each.command.name for each in asked if faults[each.id] is None})
    await tx.do(sql["add_names"], book=tx.book, names=names)
    there = {row.name: row for row in await lock(tx, names)}
    answers: list[RuleSet | Refusal] = []
    for each in asked:
        refusal = faults[each.id]
        if refusal is None:
            there[each.command.name] = await _replaced(tx, there.get(each.command.name), each, at)
        answers.append(there[each.command.name].shown if refusal is None else refusal)
    return answers


async def _replaced(tx: Tx, before: Row | None, asked: Asked[DefineRules], at: datetime) -> Row:
    """Return a rule set with the rules that are asked for; the same again are the same version."""
    command = asked.command
    if before is not None and before.command == command:
        return before
    version = 1 if before is None else before.version + 1
    row = Row(command.name, version, msgspec.json.encode(command).decode(), at, asked.by)
    await tx.do(
        sql["add_rules"], book=tx.book, name=row.name, version=version, rules=row.rules, at=at, by=asked.by
    )  # fmt: skip
    return row


async def lock(tx: Tx, names: Iterable[str]) -> list[Row]:
    """Hold rule sets by name, and with them everything that may be matched under them, until we commit."""
    wanted = sorted(set(names))
    await tx.do(sql["lock_names"], book=tx.book, names=wanted)
    return await tx.rows(sql["current"], Row, book=tx.book, names=wanted)


async def find(tx: Tx, name: str, version: int | None = None) -> Row:
    """Return a rule set as it is now, or as it was in a version."""
    found = await tx.row(sql["version"], Row, book=tx.book, name=name, version=version)
    if found is None:
        raise RuleSetNotFound(name=name)
    return found


async def listed(tx: Tx, *, after: str = "", most: int = 100) -> list[RuleSet]:
    """Return rule sets by name."""
    return [row.shown for row in await tx.rows(sql["page"], Row, book=tx.book, after=after, most=most)]


def tolerances(rule: Rule, exponents: Mapping[str, int]) -> dict[str, int]:
    """Return what a rule tolerates, in smallest units of each asset."""
    found: dict[str, int] = {}
    for each in rule.tolerance:
        iso = money.iso(each.currency)
        exponent = iso.exponent if iso is not None else exponents.get(each.currency)
        if exponent is None:
            raise AssetUnknown(asset=each.currency)
        found[each.currency] = minor_units(each.amount, exponent)
    return found


async def _fault(tx: Tx, command: DefineRules, exponents: Mapping[str, int]) -> Refusal | None:
    """Say what is wrong with rules as they are written, if anything is."""
    try:
        if not command.rules:
            raise MatchesNothing(place="1", reason="there is none")
        for place, rule in enumerate(command.rules, start=1):
            _check(command, place, rule, exponents)
        for part in ("write_off", "suspense"):
            if getattr(command, part) is not None and command.account is None:
                raise AccountNeeded(part=part)
        await _check_accounts(tx, command)
    except Refusal as refusal:
        return refusal
    return None


def _check(command: DefineRules, place: int, rule: Rule, exponents: Mapping[str, int]) -> None:
    if rule.days is not None and not 0 <= rule.days <= DAYS_MAX:
        raise WindowImpossible(place=str(place), days=str(rule.days), most=str(DAYS_MAX))
    if rule.days is not None and rule.by != "amount":
        raise MatchesNothing(place=str(place), reason="days belong to a rule by amount; a text is looked for on any day")
    if rule.many and rule.by == "amount":
        raise MatchesNothing(place=str(place), reason="several items have no text in common by which to add them up")
    _check_tolerance(command, place, rule, exponents)
    small = tolerances(rule, exponents)
    for number, earlier in enumerate(command.rules[: place - 1], start=1):
        if _leaves_nothing(earlier, rule, tolerances(earlier, exponents), small):
            raise MatchesNothing(place=str(place), reason=f"rule {number} leaves nothing for it")


def _check_tolerance(command: DefineRules, place: int, rule: Rule, exponents: Mapping[str, int]) -> None:
    small, seen = tolerances(rule, exponents), set[str]()
    for each in rule.tolerance:
        reason = ""
        if command.write_off is None:
            reason = "there is no write-off account for the difference to go to"
        elif small[each.currency] < 0 or each.currency in seen:
            reason = "it is below zero" if small[each.currency] < 0 else "the currency is there twice"
        if reason:
            raise ToleranceRefused(place=str(place), amount=each.amount, currency=each.currency, reason=reason)
        seen.add(each.currency)


def _leaves_nothing(earlier: Rule, rule: Rule, wide: Mapping[str, int], narrow: Mapping[str, int]) -> bool:
    same = (earlier.by, earlier.many) == (rule.by, rule.many) and (rule.days or 0) <= (earlier.days or 0)
    return same and all(amount <= wide.get(asset, 0) for asset, amount in narrow.items())


async def _check_accounts(tx: Tx, command: DefineRules) -> None:
    """Refuse an account that is not there in the currency that would be posted."""
    for part in ("write_off", "suspense"):
        if getattr(command, part) is not None and await _is_same(tx, command.account or "", getattr(command, part)):
            raise ReconciledAccount(part=part.replace("_", "-"), account=command.account or "")
    for asset in sorted({each.currency for rule in command.rules for each in rule.tolerance}):
        for code in (command.account, command.write_off):
            await account(tx, code or "", asset)


async def _is_same(tx: Tx, one: str, other: str) -> bool:
    """Tell whether two names, codes or ids, may mean one account."""
    codes = [(await accounts.find(tx, name)).code if name.startswith("acc_") else name for name in (one, other)]
    return one == other or codes[0] == codes[1]


async def account(tx: Tx, code: str, asset: str) -> Account:
    """Return an account that is posted to."""
    try:
        found = await accounts.find(tx, code, asset)
    except AccountNotFound:
        found = None
    if found is None or found.asset != asset:
        raise AccountMissing(account=code, asset=asset)
    return found
