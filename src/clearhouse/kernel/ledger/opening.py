"""Opening balances: bring accounts with what they hold from elsewhere, all or none, tried first if wished.

Each balance becomes a transfer between the account and one counter-account an asset: the book balances from its first day.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.ledger.accounts import Account, OpenAccount, open_accounts
from clearhouse.kernel.ledger.balances import exponent_of
from clearhouse.kernel.ledger.posting import post
from clearhouse.kernel.ledger.standing import Normal
from clearhouse.kernel.ledger.transfers import AccountName, Currency, Leg, Metadata, MoneyText, Posted, PostTransaction, Text
from clearhouse.money import minor_units
from clearhouse.refusals import Kind, Refusal

LINES_MAX = 100_000


class LineRefused(Refusal):
    """Line {line} ({account}): {reason}"""  # noqa: D400 - the reason ends it

    code = "opening_line_refused"
    kind = Kind.REFUSED


class OpeningLine(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One account and what it holds, on its normal side."""

    code: AccountName
    asset: Currency
    balance: MoneyText = "0"
    normal: Normal = "credit"
    floor: MoneyText | None = None
    ceiling: MoneyText | None = None
    metadata: Metadata | None = None


class ImportOpening(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Bring accounts and opening balances against a counter-account."""

    lines: Annotated[list[OpeningLine], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
    against: AccountName = "equity:opening"
    effective: date | None = None
    reference: Text | None = None
    dry_run: bool = False


class Imported(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an import brought, or would bring."""

    accounts: int
    transfers: int
    dry_run: bool = False
    transaction: str | None = None


class _Tried(Exception):
    """Carries an answer out of what is undone."""

    def __init__(self, answer: Imported | Refusal) -> None:
        super().__init__()
        self.answer = answer


async def import_openings(tx: Tx, asked: Sequence[Asked[ImportOpening]], at: datetime) -> list[Imported | Refusal]:
    """Bring opening balances; what is refused, or only tried, leaves nothing."""
    return [await _import(tx, each, at) for each in asked]


async def _import(tx: Tx, asked: Asked[ImportOpening], at: datetime) -> Imported | Refusal:
    try:
        async with tx.attempt():
            return _unless_tried(await _brought(tx, asked, at), asked.command)
    except _Tried as tried:
        return tried.answer


def _unless_tried(answer: Imported | Refusal, command: ImportOpening) -> Imported:
    if isinstance(answer, Refusal) or command.dry_run:
        raise _Tried(answer)
    return answer


async def _brought(tx: Tx, asked: Asked[ImportOpening], at: datetime) -> Imported | Refusal:
    command = asked.command
    assets = sorted({line.asset for line in command.lines})
    wanted = [OpenAccount(code=command.against, asset=asset, normal="debit") for asset in assets]
    wanted += [
        OpenAccount(line.code, line.asset, line.normal, line.floor, line.ceiling, line.metadata) for line in command.lines
    ]
    opened = await open_accounts(tx, [_part(asked, each, place) for place, each in enumerate(wanted)], at)
    found: list[Account] = []
    for place in (*range(len(assets), len(opened)), *range(len(assets))):  # the lines first, the counter-account is line 0
        answer = opened[place]
        if isinstance(answer, Refusal):
            return LineRefused(line=str(max(0, place - len(assets) + 1)), account=wanted[place].code, reason=str(answer))
        found.append(answer)
    for place, (line, account) in enumerate(zip(command.lines, found, strict=False), start=1):
        unread = _unread(line, account)
        if unread is not None:
            return LineRefused(line=str(place), account=line.code, reason=str(unread))
    legs = [_leg(line, command.against) for line in command.lines if line.balance.strip("-0.") != ""]
    if not legs:
        return Imported(len(opened), 0, command.dry_run)
    whole = PostTransaction(legs, reference=command.reference, effective=command.effective)
    posted = (await post(tx, [Asked(whole, ids.derived("opening", str(asked.id)), asked.by, asked.name)], at))[0]
    if not isinstance(posted, Posted):
        return posted
    return Imported(len(opened), len(legs), command.dry_run, posted.id)


def _unread(line: OpeningLine, account: Account) -> Refusal | None:
    """Say what is wrong with a balance as it is written, if anything is."""
    try:
        minor_units(line.balance, exponent_of(account))
    except Refusal as refusal:
        return refusal
    return None


def _part(asked: Asked[ImportOpening], account: OpenAccount, place: int) -> Asked[OpenAccount]:
    return Asked(account, ids.derived("opening", str(asked.id), str(place)), asked.by, asked.name)


def _leg(line: OpeningLine, against: str) -> Leg:
    amount = line.balance.removeprefix("-")
    into = (line.normal == "credit") != line.balance.startswith("-")
    debit, credit = (against, line.code) if into else (line.code, against)
    return Leg(debit=debit, credit=credit, amount=amount, currency=line.asset)
