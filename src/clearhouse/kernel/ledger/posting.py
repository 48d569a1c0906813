"""Posting: the one way into the ledger. Load what is not known, decide in memory, write in two statements.

Promise: a batch of any size costs a fixed number of round trips. The first try trusts what the process remembers and the
database compares versions; if somebody came between, the next try (`tx.careful`) locks the accounts and looks at everything.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.deciding import Batch, Repeat, decide, expire
from clearhouse.kernel.ledger.codes import is_asset, is_code
from clearhouse.kernel.ledger.existing import Existing, existing
from clearhouse.kernel.ledger.recent import Name, Recent, recent
from clearhouse.kernel.ledger.standing import Standing
from clearhouse.kernel.ledger.targets import Target
from clearhouse.kernel.ledger.transfers import Leg, Posted, PostTransaction
from clearhouse.kernel.ledger.writing import Stamp, write
from clearhouse.refusals import Refusal

_sql = Statements.of("clearhouse.kernel.ledger", "posting.sql")


@dataclass(frozen=True, slots=True)
class _Sealed:
    day: date


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


async def post(tx: Tx, asked: Sequence[Asked[PostTransaction]], at: datetime) -> list[Posted | Refusal]:
    """Post transactions in order, each whole or not at all, and answer each."""
    batch = await _loaded(tx, asked, at)
    verdicts = decide(batch, asked)
    stamp = await _settled(tx, batch)
    return _answers(asked, verdicts, batch, stamp)


async def expire_holds(tx: Tx, at: datetime, *, most: int = 1_000) -> list[UUID]:
    """Free the holds whose time has come; pinned ones are left alone however late it is."""
    tx.careful = True
    due = await tx.rows(_sql["expired_holds"], _Id, book=tx.book, at=at, most=most)
    if not due:
        return []
    batch = await _for_targets(tx, [each.id for each in due], at)
    for each in due:
        own = ids.derived("expiry", str(each.id))
        expire(batch, batch.targets[each.id], own=own, command=PostTransaction(transfers=[]))
    await _settled(tx, batch)
    return [each.id for each in due]


async def _settled(tx: Tx, batch: Batch) -> Stamp | None:
    """Write what was decided. A batch of refusals only is checked too: it was refused on what is remembered."""
    if not batch.moves and (tx.careful or not batch.touched):
        return None
    memory = recent(tx.database, tx.book)
    tx.if_rolled_back(lambda: memory.forget(batch.touched))
    return await write(tx, batch)


def _answers(
    asked: Sequence[Asked[PostTransaction]],
    verdicts: Sequence[Posted | Refusal | Repeat | None],
    batch: Batch,
    stamp: Stamp | None,
) -> list[Posted | Refusal]:
    posted: dict[UUID, Posted] = {}
    if stamp is not None:
        transfers: defaultdict[UUID, list[str]] = defaultdict(list)
        for move in batch.moves:
            transfers[move.transaction].append(ids.text("trf", move.id))
        for each in asked:
            if each.id in batch.accepted and each.id not in posted:
                effective = each.command.effective or stamp.day
                text = ids.text("trx", each.id)
                posted[each.id] = Posted(text, transfers[each.id], stamp.booked_at, effective)
    answers: list[Posted | Refusal] = []
    for each, verdict in zip(asked, verdicts, strict=True):
        if verdict is None:
            answers.append(posted[each.id])
        elif isinstance(verdict, Repeat):
            first = posted[each.id]
            answers.append(Posted(first.id, first.transfers, first.booked, first.effective, exists=True))
        else:
            answers.append(verdict)
    return answers


async def _loaded(tx: Tx, asked: Sequence[Asked[PostTransaction]], at: datetime) -> Batch:
    memory = recent(tx.database, tx.book)
    rows = await existing(tx, asked) if tx.careful else []
    names, aims = _mentioned(asked)
    targets = await _targets(tx, aims) if aims else {}
    sides = {side for each in targets.values() for side in (each.debit, each.credit)}
    if tx.careful:
        found = await _resolve(tx, memory, names)
        await _lock(tx, memory, sides | {standing.id for standing in found.values()})
        memory.sealed_to = await _sealed_to(tx)
    found = await _resolve(tx, memory, names)
    by_id = await _resolve_ids(tx, memory, sides - {standing.id for standing in found.values()})
    by_id.update((standing.id, standing) for standing in found.values())
    # one object an account, whatever was forgotten and read again while we waited: its version decides if it is right
    known = {name: by_id[standing.id] for name, standing in found.items()}
    batch = Batch(names=known, by_id=by_id, sealed_to=memory.sealed_to, at=at, targets=targets)
    batch.targets_wanted = bool(aims)
    batch.stored, batch.taken = _stored(rows, asked)
    return batch


async def _for_targets(tx: Tx, wanted: Sequence[UUID], at: datetime) -> Batch:
    memory = recent(tx.database, tx.book)
    targets = await _targets(tx, wanted)
    sides = {side for each in targets.values() for side in (each.debit, each.credit)}
    await _lock(tx, memory, sides)
    memory.sealed_to = await _sealed_to(tx)
    by_id = await _resolve_ids(tx, memory, sides)
    return Batch(names={}, by_id=by_id, sealed_to=memory.sealed_to, at=at, targets=targets)


async def _sealed_to(tx: Tx) -> date:
    row = await tx.row(_sql["sealed_to"], _Sealed, book=tx.book)
    return date.min if row is None else row.day


def _mentioned(asked: Sequence[Asked[PostTransaction]]) -> tuple[set[Name], list[UUID]]:
    """Return the accounts that legs name, and the earlier transfers that they aim at."""
    names: set[Name] = set()
    aims: set[UUID] = set()
    for each in asked:
        for leg in each.command.transfers:
            currency = leg.currency or ""
            if leg.debit is not None:
                names.add((leg.debit, currency))
            if leg.credit is not None:
                names.add((leg.credit, currency))
            if leg.debit is None:
                aims.update(_aims(leg))
    return names, sorted(aims)


def _aims(leg: Leg) -> Iterable[UUID]:
    for text in (leg.capture, leg.release, leg.reverse):
        if text is not None:
            try:
                yield ids.parse("trf", text)
            except Refusal:
                continue  # refused by name when its leg is decided


async def _targets(tx: Tx, wanted: Sequence[UUID]) -> dict[UUID, Target]:
    """Lock what is left of earlier transfers, then read it: nothing changes it until we commit."""
    chosen = list(wanted)
    await tx.do(_sql["lock_holds"], book=tx.book, ids=chosen)
    await tx.do(_sql["lock_reversals"], book=tx.book, ids=chosen)
    return {each.id: each for each in await tx.rows(_sql["targets"], Target, book=tx.book, ids=chosen)}


async def _resolve(tx: Tx, memory: Recent, names: Iterable[Name]) -> dict[Name, Standing]:
    """Return the accounts that names lead to; those that the process does not remember are read."""
    found: dict[Name, Standing] = {}
    codes: list[Name] = []
    by_id: defaultdict[UUID, list[Name]] = defaultdict(list)
    for name in names:
        standing = memory.named(name)
        if standing is not None:
            found[name] = standing
        elif name[0].startswith("acc_"):
            by_id[_account_id(name[0])].append(name)
        elif is_code(name[0]) and is_asset(name[1]):
            codes.append(name)
    if codes:
        texts, assets = [code for code, _ in codes], [asset for _, asset in codes]
        for row in await tx.rows(_sql["accounts_by_name"], Standing, book=tx.book, codes=texts, assets=assets):
            found[row.code, row.asset] = memory.learn(row, (row.code, row.asset))
    if by_id:
        for row in await tx.rows(_sql["accounts_by_id"], Standing, book=tx.book, ids=list(by_id)):
            standing = memory.learn(row, *by_id[row.id])
            found.update((name, standing) for name in by_id[row.id])
    return found


def _account_id(text: str) -> UUID:
    try:
        return ids.parse("acc", text)
    except Refusal:
        return UUID(int=0)  # no account has it: refused as unknown


async def _resolve_ids(tx: Tx, memory: Recent, wanted: Iterable[UUID]) -> dict[UUID, Standing]:
    found = {each: standing for each in wanted if (standing := memory.by_id.get(each)) is not None}
    missing = [each for each in wanted if each not in found]
    if missing:
        for row in await tx.rows(_sql["accounts_by_id"], Standing, book=tx.book, ids=missing):
            found[row.id] = memory.learn(row)
    return found


async def _lock(tx: Tx, memory: Recent, wanted: Iterable[UUID]) -> None:
    """Lock accounts in id order and replace what is remembered of them by what is true."""
    chosen = sorted(wanted)
    if not chosen:
        return
    for row in await tx.rows(_sql["lock_accounts"], Standing, book=tx.book, ids=chosen):
        memory.by_id[row.id] = row
        memory.learn(row, (row.code, row.asset), (ids.text("acc", row.id), row.asset))
    tx.if_rolled_back(lambda: memory.forget(chosen))


def _stored(
    rows: Sequence[Existing], asked: Sequence[Asked[PostTransaction]]
) -> tuple[dict[UUID, list[Existing]], frozenset[UUID]]:
    by_transaction: defaultdict[UUID, list[Existing]] = defaultdict(list)
    for row in rows:
        by_transaction[row.transaction].append(row)
    wanted = {each.id for each in asked}
    stored = {each: found for each, found in by_transaction.items() if each in wanted}
    return stored, frozenset(row.id for row in rows)


