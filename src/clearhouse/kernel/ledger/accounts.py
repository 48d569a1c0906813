"""Accounts: opened once, never removed; four counters, limits, a normal side, and a state that says what may happen.

    open → frozen → open … → closed        (closed is final, and needs an account without balance and without holds)

A frozen account takes no movement and no capture; a hold on it may still be released.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from clearhouse import ids, money
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.faults import Duplicate
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.codes import is_asset, is_code
from clearhouse.kernel.ledger.recent import recent
from clearhouse.kernel.ledger.standing import Normal, State
from clearhouse.kernel.ledger.transfers import AccountName, Currency, Metadata, MoneyText
from clearhouse.money import decimal_text, minor_units
from clearhouse.refusals import Kind, Refusal

sql = Statements.of("clearhouse.kernel.ledger", "ledger.sql")

_TRANSITIONS: dict[State, frozenset[State]] = {
    "open": frozenset({"open", "frozen", "closed"}),
    "frozen": frozenset({"open", "frozen", "closed"}),
    "closed": frozenset({"closed"}),
}


class MalformedCode(Refusal):
    """{code} is no account code: 1 to 8 segments of letters, digits, `_`, `.` and `-`, joined by colons."""

    code = "malformed_code"
    kind = Kind.REFUSED


class AssetUnknown(Refusal):
    """{asset} is neither a currency of ISO 4217 nor an asset of this book; add it first."""

    code = "asset_unknown"
    kind = Kind.REFUSED


class AssetExists(Refusal):
    """{asset} exists already, with {exponent} decimals."""

    code = "asset_exists"
    kind = Kind.REFUSED


class AccountIdTaken(Refusal):
    """Another account has the id of {account} in {asset}: the key of this request was used for other accounts."""

    code = "account_id_taken"
    kind = Kind.REFUSED


class AccountExists(Refusal):
    """Account {account} in {asset} exists with another {field}."""

    code = "account_exists"
    kind = Kind.REFUSED


class AccountNotFound(Refusal):
    """There is no account {account} here."""

    code = "account_not_found"
    kind = Kind.UNKNOWN


class StateRefused(Refusal):
    """Account {account} is {state} and cannot become {wanted}."""

    code = "account_state"
    kind = Kind.REFUSED


class AccountInUse(Refusal):
    """Account {account} still has a balance or holds; it can be closed when both are zero."""

    code = "account_in_use"
    kind = Kind.REFUSED


class LimitsCrossed(Refusal):
    """The floor {floor} is above the ceiling {ceiling}."""

    code = "limits_crossed"
    kind = Kind.REFUSED


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account as it stands now. Balance is posted, on the normal side; available is less what is held for leaving."""

    id: str
    code: str
    asset: str
    normal: Normal
    state: State
    balance: str
    available: str
    debits_posted: str
    credits_posted: str
    debits_pending: str
    credits_pending: str
    opened_at: datetime
    floor: str | None = None
    ceiling: str | None = None
    metadata: dict[str, str] | None = None


def account(**row: Any) -> Account:
    """Read an account from its row."""
    exponent: int = row["exponent"]
    dp, cp, dh, ch = (int(row[name]) for name in _COUNTERS)
    balance = cp - dp if row["normal"] == "credit" else dp - cp
    available = balance - (dh if row["normal"] == "credit" else ch)
    texts = {name: decimal_text(value, exponent) for name, value in zip(_COUNTERS, (dp, cp, dh, ch), strict=True)}
    return Account(
        id=ids.text("acc", row["id"]), code=row["code"], asset=row["asset"], normal=row["normal"], state=row["state"],
        balance=decimal_text(balance, exponent), available=decimal_text(available, exponent), **texts,
        opened_at=row["opened_at"],
        floor=None if row["floor"] is None else decimal_text(row["floor"], exponent),
        ceiling=None if row["ceiling"] is None else decimal_text(row["ceiling"], exponent),
        metadata=None if row["metadata"] is None else msgspec.json.decode(row["metadata"]),
    )  # fmt: skip


_COUNTERS = ("debits_posted", "credits_posted", "debits_pending", "credits_pending")


class OpenAccount(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Open an account for one asset under a code."""

    code: AccountName
    asset: Currency
    normal: Normal = "credit"
    floor: MoneyText | None = None
    ceiling: MoneyText | None = None
    metadata: Metadata | None = None


class ChangeAccount(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Freeze, unfreeze, close or re-limit an account; what is left out stays, null takes a limit away."""

    account: str
    state: State | None = None
    floor: MoneyText | msgspec.UnsetType | None = msgspec.UNSET
    ceiling: MoneyText | msgspec.UnsetType | None = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType | None = msgspec.UNSET


class AddAsset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Let a book keep accounts in something that is no currency of ISO 4217: a token, a point, a unit."""

    code: Annotated[str, msgspec.Meta(min_length=2, max_length=16, examples=["USDC"])]
    exponent: Annotated[int, msgspec.Meta(ge=0, le=30)]


class Asset(msgspec.Struct, frozen=True):
    """An asset and how many decimals it has."""

    code: str
    exponent: int


async def exponents(tx: Tx) -> dict[str, int]:
    """Return the decimals of the book's own assets; those of ISO 4217 are in `money`."""
    return {each.code: each.exponent for each in await tx.rows(sql["assets"], Asset, book=tx.book)}


async def add_assets(tx: Tx, asked: Sequence[Asked[AddAsset]], at: datetime) -> list[Asset | Refusal]:  # noqa: ARG001 — a command's shape
    """Add assets to the book; the same again is fine, with other decimals it is refused."""
    wanted = {each.command.code: each.command.exponent for each in reversed(asked) if is_asset(each.command.code)}
    for code in [code for code in wanted if money.iso(code) is not None]:
        del wanted[code]
    await tx.do(sql["add_assets"], book=tx.book, codes=list(wanted), exponents=list(wanted.values()))
    known = await exponents(tx)
    answers: list[Asset | Refusal] = []
    for each in asked:
        code, exponent = each.command.code, each.command.exponent
        iso = money.iso(code)
        there = iso.exponent if iso is not None else known.get(code)
        if there is None:
            answers.append(MalformedCode(code=code))
        elif there != exponent:
            answers.append(AssetExists(asset=code, exponent=str(there)))
        else:
            answers.append(Asset(code, exponent))
    return answers


async def open_accounts(tx: Tx, asked: Sequence[Asked[OpenAccount]], at: datetime) -> list[Account | Refusal]:
    """Open accounts; opening the same again gives the one that is there."""
    own = await exponents(tx)
    checked = [_checked(each, own) for each in asked]
    new = {(row["code"], row["asset"]): row for row in reversed(checked) if not isinstance(row, Refusal)}
    if not new:
        return [each for each in checked if isinstance(each, Refusal)]
    columns = {plural: [row[name] for row in new.values()] for name, plural in _COLUMNS.items()}
    await tx.do(sql["open_accounts"], book=tx.book, at=at, **columns)
    found = await tx.rows(sql["accounts_of_names"], account, book=tx.book, codes=columns["codes"], assets=columns["assets"])
    there = {(each.code, each.asset): each for each in found}
    if not tx.careful and not new.keys() <= there.keys():  # the key that the id was made of may hold an answer: look first
        message = "the id of an account is taken"
        raise Duplicate(message)
    return [row if isinstance(row, Refusal) else _same(row, there.get((row["code"], row["asset"]))) for row in checked]


_COLUMNS = {
    "id": "ids", "code": "codes", "asset": "assets", "exponent": "exponents", "normal": "normals",
    "floor": "floors", "ceiling": "ceilings", "metadata": "metadata",
}  # fmt: skip


def _checked(asked: Asked[OpenAccount], own: dict[str, int]) -> dict[str, Any] | Refusal:
    command = asked.command
    if not is_code(command.code):
        return MalformedCode(code=command.code)
    iso = money.iso(command.asset)
    exponent = iso.exponent if iso is not None else own.get(command.asset)
    if exponent is None:
        return AssetUnknown(asset=command.asset)
    try:
        floor, ceiling = _limits(command.floor, command.ceiling, exponent)
    except Refusal as refusal:
        return refusal
    metadata = msgspec.json.encode(command.metadata, order="sorted").decode() if command.metadata else None
    return {
        "id": asked.id, "code": command.code, "asset": command.asset, "exponent": exponent, "normal": command.normal,
        "floor": floor, "ceiling": ceiling, "metadata": metadata,
    }  # fmt: skip


def _limits(floor: str | None, ceiling: str | None, exponent: int) -> tuple[int | None, int | None]:
    low = None if floor is None else minor_units(floor, exponent)
    high = None if ceiling is None else minor_units(ceiling, exponent)
    if low is not None and high is not None and low > high:
        raise LimitsCrossed(floor=str(floor), ceiling=str(ceiling))
    return low, high


def _same(row: dict[str, Any], there: Account | None) -> Account | Refusal:
    if there is None:
        return AccountIdTaken(account=row["code"], asset=row["asset"])
    exponent = row["exponent"]
    wanted = {
        "normal": row["normal"],
        "floor": None if row["floor"] is None else decimal_text(row["floor"], exponent),
        "ceiling": None if row["ceiling"] is None else decimal_text(row["ceiling"], exponent),
        "metadata": None if row["metadata"] is None else msgspec.json.decode(row["metadata"]),
    }
    for field, value in wanted.items():
        if getattr(there, field) != value:
            return AccountExists(account=there.code, asset=there.asset, field=field)
    return there


async def change_accounts(
    tx: Tx,
    asked: Sequence[Asked[ChangeAccount]],
    at: datetime,  # noqa: ARG001 — a command's shape
) -> list[Account | Refusal]:
    """Change accounts one after another; each sees what the one before it left."""
    wanted = {each.id: _account_id(each.command.account) for each in asked}
    rows = await tx.rows(sql["lock_accounts_whole"], _row, book=tx.book, ids=sorted(set(wanted.values())))
    there = {row["id"]: row for row in rows}
    memory = recent(tx.database, tx.book)
    tx.if_rolled_back(lambda: memory.forget(str(each) for each in there))
    answers: list[Account | Refusal] = []
    for each in asked:
        row = there.get(wanted[each.id])
        if row is None:
            answers.append(AccountNotFound(account=each.command.account))
            continue
        try:
            changed = _changed(row, each.command)
        except Refusal as refusal:
            answers.append(refusal)
            continue
        there[row["id"]] = changed
        new = {name: changed[name] for name in ("state", "floor", "ceiling", "metadata")}
        await tx.do(sql["change_account"], book=tx.book, id=row["id"], **new)
        answers.append(account(**changed))
    memory.forget(str(each) for each in there)
    return answers


def _row(**columns: Any) -> dict[str, Any]:
    return columns


def _account_id(text: str) -> UUID:
    try:
        return ids.parse("acc", text)
    except Refusal:
        return UUID(int=0)


def _changed(row: dict[str, Any], command: ChangeAccount) -> dict[str, Any]:
    state: State = command.state or row["state"]
    if state not in _TRANSITIONS[row["state"]] or row["state"] == "closed":
        raise StateRefused(account=row["code"], state=row["state"], wanted=state)
    idle = row["debits_posted"] == row["credits_posted"] and row["debits_pending"] == row["credits_pending"] == 0
    if state == "closed" and not idle:
        raise AccountInUse(account=row["code"])
    exponent: int = row["exponent"]
    low, high = (
        (None if row[name] is None else decimal_text(row[name], exponent)) if given is msgspec.UNSET else given
        for name, given in (("floor", command.floor), ("ceiling", command.ceiling))
    )
    floor, ceiling = _limits(low, high, exponent)
    metadata = row["metadata"]
    if command.metadata is not msgspec.UNSET:
        metadata = msgspec.json.encode(command.metadata, order="sorted").decode() if command.metadata else None
    return {**row, "state": state, "floor": floor, "ceiling": ceiling, "metadata": metadata}


async def find(tx: Tx, name: str, asset: str | None = None) -> Account:
    """Return an account by its id, or by its code and asset."""
    if name.startswith("acc_"):
        found = await tx.row(sql["account_by_id"], account, book=tx.book, id=_account_id(name))
    elif is_code(name) and asset is not None and is_asset(asset):
        found = await tx.row(sql["account_by_name"], account, book=tx.book, code=name, asset=asset)
    else:
        found = None
    if found is None:
        raise AccountNotFound(account=name)
    return found


async def listed(
    tx: Tx, *, after: Account | None = None, prefix: str = "", asset: str | None = None, most: int = 100
) -> list[Account]:
    """Return accounts in the order of their codes, those whose code begins in a given way."""
    code, last = ("", "") if after is None else (after.code, after.asset)
    return await tx.rows(
        sql["accounts_page"], account, book=tx.book, after_code=code, after_asset=last, prefix=prefix, asset=asset, most=most
    )


async def assets(tx: Tx) -> list[Asset]:
    """Return the book's own assets."""
    return await tx.rows(sql["assets"], Asset, book=tx.book)
