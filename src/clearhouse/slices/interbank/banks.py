"""Banks, and the accounts between us and them: our nostros with them, their vostros with us.

Promise: the ledger owns what is on an account; here stands only whose it is. A nostro and a vostro never go below what was
agreed: a credit line lowers the floor, nothing else does.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from clearhouse import ids, money
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.ledger import accounts as ledger
from clearhouse.kernel.ledger import posting
from clearhouse.kernel.ledger.accounts import ChangeAccount, OpenAccount
from clearhouse.kernel.ledger.refusals import AmountNotPositive
from clearhouse.kernel.ledger.standing import Normal
from clearhouse.kernel.ledger.transfers import Currency, Leg, MoneyText, PostTransaction, Text
from clearhouse.kernel.reconciliation import rules
from clearhouse.kernel.reconciliation.rules import DefineRules, Rule
from clearhouse.money import decimal_text, minor_units
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank import periods, world
from clearhouse.slices.interbank.settlement import Bic
from clearhouse.slices.interbank.validation import BIC, BankUnknown, CurrencyUnknown, MalformedBic
from clearhouse.slices.interbank.world import sql

Side = Literal["nostro", "vostro"]
NORMAL: dict[Side, Normal] = {"nostro": "debit", "vostro": "credit"}
BankName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=140, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)", examples=["Deutsche Bank"])
]
Number = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$(?!\n)", examples=["DEUTDEFF:EUR"])
]


class BankNotFound(Refusal):
    """There is no bank {bic} here."""

    code = "bank_not_found"
    kind = Kind.UNKNOWN


class NoSuchAccount(Refusal):
    """There is no {side} account of {bic} in {currency} here."""

    code = "interbank_account_not_found"
    kind = Kind.UNKNOWN


class KeepBank(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Let a bank be known by its BIC, or change what is known of it."""

    bic: Bic
    name: BankName
    state: Literal["open", "suspended"] = "open"


class Bank(msgspec.Struct, frozen=True):
    """A bank that settles with others through us."""

    bic: str
    name: str
    state: Literal["open", "suspended"]
    opened_at: datetime


class OpenBankAccount(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Open our account at a bank (nostro) or its account with us (vostro) in a currency; `number` is the bank's own."""

    side: Side
    bank: Bic
    currency: Currency
    credit_line: MoneyText = "0"
    ceiling: MoneyText | None = None
    number: Number | None = None


class ChangeBankAccount(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Freeze or unfreeze an account, or agree on another credit line or ceiling."""

    side: Side
    bank: Bic
    currency: Currency
    state: Literal["open", "frozen"] | None = None
    credit_line: MoneyText | None = None
    ceiling: MoneyText | msgspec.UnsetType | None = msgspec.UNSET


class FundBankAccount(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Book money that came to an account from outside, or with `withdraw` what left it, against the treasury."""

    side: Side
    bank: Bic
    currency: Currency
    amount: MoneyText
    withdraw: bool = False
    reference: Text | None = None


class BankAccount(msgspec.Struct, frozen=True, omit_defaults=True):
    """A nostro or vostro as it stands: what is on it, what of that is held, what may leave above the floor."""

    side: Side
    bank: str
    currency: str
    number: str
    account: str
    state: str
    balance: str
    held: str
    available: str
    credit_line: str
    opened_at: datetime
    ceiling: str | None = None


class _Row(msgspec.Struct, frozen=True):
    bank: str
    currency: str
    number: str
    account: Any
    code: str
    exponent: int
    state: str
    floor: int | None
    ceiling: int | None
    balance: int
    held: int
    available: int
    opened_at: datetime

    def shown(self, side: Side) -> BankAccount:
        """Return it as it is shown; what may leave is counted from the floor."""
        floor = self.floor or 0
        balance, held, available, line = (
            decimal_text(each, self.exponent) for each in (self.balance, self.held, self.available - floor, -floor)
        )
        return BankAccount(
            side=side, bank=self.bank, currency=self.currency, number=self.number, account=ids.text("acc", self.account),
            state=self.state, balance=balance, held=held, available=available, credit_line=line, opened_at=self.opened_at,
            ceiling=None if self.ceiling is None else decimal_text(self.ceiling, self.exponent),
        )  # fmt: skip


async def keep_banks(tx: Tx, asked: Sequence[Asked[KeepBank]], at: datetime) -> list[Bank | Refusal]:
    """Let banks be known."""
    answers: list[Bank | Refusal] = []
    await world.changed(tx)
    for each in asked:
        command = each.command
        if BIC.fullmatch(command.bic) is None:
            answers.append(MalformedBic(bic=command.bic))
            continue
        await tx.do(sql["keep_bank"], book=tx.book, bic=command.bic, name=command.name, state=command.state, at=at)
        answers.append(await find_bank(tx, command.bic))
        await periods.begin(tx, each.by, at)
    return answers


async def find_bank(tx: Tx, bic: str) -> Bank:
    """Return a bank."""
    found = await tx.row(sql["bank"], Bank, book=tx.book, bic=bic)
    if found is None:
        raise BankNotFound(bic=bic[:20])
    return found


async def banks(tx: Tx, *, after: str = "", only: str | None = None, most: int = 100) -> list[Bank]:
    """Return banks by their BIC, or only one."""
    return await tx.rows(sql["banks_page"], Bank, book=tx.book, after=after, only=only, most=most)


async def open_accounts(tx: Tx, asked: Sequence[Asked[OpenBankAccount]], at: datetime) -> list[BankAccount | Refusal]:
    """Open nostros and vostros; opening the same again gives the one that is there."""
    await world.changed(tx)
    answers: list[BankAccount | Refusal] = []
    for each in asked:
        try:
            answers.append(await _open(tx, each, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _open(tx: Tx, asked: Asked[OpenBankAccount], at: datetime) -> BankAccount:
    command = asked.command
    if await tx.row(sql["bank"], Bank, book=tx.book, bic=command.bank) is None:
        raise BankUnknown(bic=command.bank) if BIC.fullmatch(command.bank) else MalformedBic(bic=command.bank)
    exponent = _exponent(command.currency)
    opening = OpenAccount(
        code(command.side, command.bank, command.currency), command.currency, NORMAL[command.side],
        floor=decimal_text(-minor_units(command.credit_line, exponent), exponent), ceiling=command.ceiling,
    )  # fmt: skip
    own = [Asked(opening, asked.id, asked.by)]
    own += [
        Asked(
            OpenAccount(f"{each}:{command.currency}", command.currency),
            ids.derived(each, str(tx.book), command.currency),
            asked.by,
        )
        for each in ("treasury", "suspense")
    ]
    for answer in await ledger.open_accounts(tx, own, at):
        if isinstance(answer, Refusal):
            raise answer
    account = await ledger.find(tx, opening.code, command.currency)
    await tx.do(
        sql["open_account"], book=tx.book, side=command.side, bank=command.bank, currency=command.currency,
        account=ids.parse("acc", account.id), number=command.number or f"{command.bank}:{command.currency}", at=at,
    )  # fmt: skip
    if command.side == "nostro":
        defined = (await rules.define(tx, [Asked(rules_of(command.bank, command.currency), asked.id, asked.by)], at))[0]
        if isinstance(defined, Refusal):
            raise defined
    return await find_account(tx, command.side, command.bank, command.currency)


def rules_of(bank: str, currency: str) -> DefineRules:
    """Return the rules that a nostro is reconciled by: end-to-end id, then reference, then amount and date."""
    found = [
        Rule("end_to_end"), Rule("reference"), Rule("end_to_end", many=True), Rule("reference", many=True),
        Rule("amount", days=2)
    ]  # fmt: skip
    return DefineRules(reconciliation_of(bank, currency), found, f"Our nostro with {bank} in {currency}")


def reconciliation_of(bank: str, currency: str) -> str:
    """Return what a nostro's reconciliation is called in the kernel."""
    return f"nostro-{bank}-{currency}".lower()


def _exponent(currency: str) -> int:
    asset = money.iso(currency)
    if asset is None:
        raise CurrencyUnknown(currency=currency)
    return asset.exponent


def code(side: Side, bank: str, currency: str) -> str:
    """Return the ledger's name of an account."""
    return f"{side}:{bank}:{currency}"


async def change_accounts(tx: Tx, asked: Sequence[Asked[ChangeBankAccount]], at: datetime) -> list[BankAccount | Refusal]:
    """Freeze, unfreeze and re-limit nostros and vostros, one after another."""
    answers: list[BankAccount | Refusal] = []
    for each in asked:
        try:
            answers.append(await _change(tx, each, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _change(tx: Tx, asked: Asked[ChangeBankAccount], at: datetime) -> BankAccount:
    command = asked.command
    found = await find_account(tx, command.side, command.bank, command.currency)
    floor: str | msgspec.UnsetType = msgspec.UNSET
    if command.credit_line is not None:
        exponent = _exponent(command.currency)
        floor = decimal_text(-minor_units(command.credit_line, exponent), exponent)
    change = ChangeAccount(found.account, command.state, floor, command.ceiling)
    answer = (await ledger.change_accounts(tx, [Asked(change, asked.id, asked.by)], at))[0]
    if isinstance(answer, Refusal):
        raise answer
    return await find_account(tx, command.side, command.bank, command.currency)


async def fund_accounts(tx: Tx, asked: Sequence[Asked[FundBankAccount]], at: datetime) -> list[BankAccount | Refusal]:
    """Book money that came from outside or left; each by itself."""
    answers: list[BankAccount | Refusal] = []
    for each in asked:
        try:
            answers.append(await _fund(tx, each, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _fund(tx: Tx, asked: Asked[FundBankAccount], at: datetime) -> BankAccount:
    command = asked.command
    await find_account(tx, command.side, command.bank, command.currency)
    if minor_units(command.amount, _exponent(command.currency)) <= 0:
        raise AmountNotPositive(amount=command.amount)
    own, treasury = code(command.side, command.bank, command.currency), f"treasury:{command.currency}"
    comes_by_debit = (command.side == "nostro") != command.withdraw
    debit, credit = (own, treasury) if comes_by_debit else (treasury, own)
    leg = Leg(debit=debit, credit=credit, amount=command.amount, currency=command.currency)
    posting_of = PostTransaction([leg], reference=command.reference)
    answer = (await posting.post(tx, [Asked(posting_of, asked.id, asked.by)], at))[0]
    if isinstance(answer, Refusal):
        raise answer
    await tx.flush()
    return await find_account(tx, command.side, command.bank, command.currency)


async def find_account(tx: Tx, side: Side, bank: str, currency: str) -> BankAccount:
    """Return a nostro or vostro with what is on it."""
    found = await tx.row(sql[side], _Row, book=tx.book, bank=bank, currency=currency)
    if found is None:
        raise NoSuchAccount(side=side, bic=bank[:20], currency=currency[:16])
    return found.shown(side)


async def listed(
    tx: Tx, side: Side, *, after: tuple[str, str] = ("", ""), only: str | None = None, most: int = 100
) -> list[BankAccount]:
    """Return nostros or vostros by bank and currency, of one bank or of all."""
    name = "nostros" if side == "nostro" else "vostros"
    found = await tx.rows(sql[name], _Row, book=tx.book, bank=after[0], currency=after[1], only=only, most=most)
    return [each.shown(side) for each in found]
