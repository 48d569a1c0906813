"""Posting: the one way into the ledger. Load what is not known, decide in memory, write in two statements.

Promise: a batch of any size costs a fixed number of round trips. The first try trusts what the process remembers and the
database compares versions; if somebody came between, the next try (`tx.careful`) locks the accounts and looks at everything.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.faults import Stale
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.codes import is_asset, is_code
from clearhouse.kernel.ledger.deciding import Batch, Repeat, decide, expire
from clearhouse.kernel.ledger.existing import Existing, existing
from clearhouse.kernel.ledger.recent import Recent, recent
from clearhouse.kernel.ledger.standing import Standing
from clearhouse.kernel.ledger.targets import Target
from clearhouse.kernel.ledger.transfers import Posted, PostTransaction
from clearhouse.kernel.ledger.writing import Stamp, Written, prepare, rows, write
from clearhouse.refusals import Refusal

_sql = Statements.of("clearhouse.kernel.ledger", "posting.sql")
_NOBODY: Mapping[str, Standing] = {}
_AT_A_TIME = 250


@dataclass(frozen=True, slots=True)
class _Sealed:
    day: date


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


async def post(
    tx: Tx, asked: Sequence[Asked[PostTransaction]], at: datetime, *, answered: Iterable[UUID] = ()
) -> list[Posted | Refusal]:
    """Post transactions in order, each whole or not at all, and answer each.

    What a pinned hold was made for may be `answered` here, however late: then it may be captured and released, and no timer
    frees it any more.
    """
    memory = recent(tx.database, tx.book)
    async with memory.deciding:
        batch = await _loaded(tx, memory, asked, at)
        for each in answered:
            if each in batch.targets:
                batch.targets[each].answer()
        try:
            verdicts, transfers = await _decided(tx, memory, batch, asked)
            await _look_twice(tx, memory, asked, verdicts)
            written = _prepared(tx, memory, batch, transfers)
        except BaseException:
            memory.forget(batch.touched)  # at once: whoever decides next must not build on half a batch
            raise
    stamp = await _written(tx, memory, batch, written)
    return _answers(asked, verdicts, batch, stamp)


async def expire_holds(tx: Tx, at: datetime, *, most: int = 1_000) -> list[UUID]:
    """Free the holds whose time has come; pinned ones are left alone however late it is."""
    memory = recent(tx.database, tx.book)
    tx.careful = True
    async with memory.deciding:
        due = await tx.rows(_sql["expired_holds"], _Id, book=tx.book, at=at, most=most)
        if not due:
            return []
        batch = await _for_targets(tx, memory, [each.id for each in due], at)
        try:
            for each in due:
                expire(batch, batch.targets[each.id], own=ids.derived("expiry", str(each.id)))
            written = _prepared(tx, memory, batch, rows(batch.moves, start=0))
        except BaseException:
            memory.forget(batch.touched)
            raise
    await _written(tx, memory, batch, written)
    return [each.id for each in due]


async def _decided(
    tx: Tx, memory: Recent, batch: Batch, asked: Sequence[Asked[PostTransaction]]
) -> tuple[list[Posted | Refusal | Repeat | None], list[str]]:
    """Decide a few at a time: in between, what another batch has to send gets sent."""
    verdicts: list[Posted | Refusal | Repeat | None] = []
    transfers: list[str] = []
    known = memory.forgotten
    for start in range(0, len(asked), _AT_A_TIME):
        if start and not tx.careful:
            await asyncio.sleep(0)
            if memory.forgotten != known:
                message = "accounts were forgotten while they were decided on"
                raise Stale(message)
        verdicts += decide(batch, asked[start : start + _AT_A_TIME])
        transfers += rows(batch.moves, start=len(transfers))
    return verdicts, transfers


async def _look_twice(
    tx: Tx, memory: Recent, asked: Sequence[Asked[PostTransaction]], verdicts: Sequence[Posted | Refusal | Repeat | None]
) -> None:
    """See, before anything is refused on what is remembered, whether it is there already or a day was closed since."""
    refused = [each for each, verdict in zip(asked, verdicts, strict=True) if isinstance(verdict, Refusal)]
    if tx.careful or not refused:
        return
    if await existing(tx, refused) or await _sealed_to(tx) != memory.sealed_to:
        message = "a refusal was decided on what is no longer so"
        raise Stale(message)


def _prepared(tx: Tx, memory: Recent, batch: Batch, transfers: Sequence[str]) -> Written | None:
    """Return what is to be sent. A batch of refusals only is sent too: it was refused on what is remembered."""
    if not batch.moves and (tx.careful or not batch.touched):
        return None
    tx.if_rolled_back(lambda: memory.forget(batch.touched))
    return prepare(batch, transfers)


async def _written(tx: Tx, memory: Recent, batch: Batch, written: Written | None) -> Stamp | None:
    if written is None:
        return None
    async with memory.turn(tx) as lane:
        return await write(tx, batch, written, lane)


def _answers(
    asked: Sequence[Asked[PostTransaction]],
    verdicts: Sequence[Posted | Refusal | Repeat | None],
    batch: Batch,
    stamp: Stamp | None,
) -> list[Posted | Refusal]:
    posted: dict[int, Posted] = {}
    moves = iter(batch.moves)
    answers: list[Posted | Refusal] = []
    for each, verdict in zip(asked, verdicts, strict=True):
        if verdict is None and stamp is not None:
            next(moves)
            text = ids.text("trx", each.id)
            transfers = [f"trf{text[3:]}", *(ids.text("trf", next(moves).id) for _ in each.command.transfers[1:])]
            answer = Posted(text, transfers, stamp.booked_at, each.command.effective or stamp.day)
            posted[each.id.int] = answer
            answers.append(answer)
        elif isinstance(verdict, Posted | Refusal):
            answers.append(verdict)
        else:
            answers.append(msgspec.structs.replace(posted[each.id.int], exists=True))
    return answers


async def _loaded(tx: Tx, memory: Recent, asked: Sequence[Asked[PostTransaction]], at: datetime) -> Batch:
    memory.make_room()
    rows = await existing(tx, asked) if tx.careful else []
    aims = _aims(asked)
    targets = await _targets(tx, aims) if aims else {}
    sides = {side for each in targets.values() for side in (each.debit, each.credit)}
    await _resolve(tx, memory, asked, sides)
    if tx.careful:
        memory.sealed_to = await _sealed_to(tx)
        await _lock(tx, memory, sides | _accounts(memory, asked))
    batch = Batch(memory.names, memory.by_id, memory.sealed_to, at, targets, aimed=bool(aims))
    batch.stored, batch.taken = _stored(rows, asked)
    return batch


async def _for_targets(tx: Tx, memory: Recent, wanted: Sequence[UUID], at: datetime) -> Batch:
    targets = await _targets(tx, wanted)
    memory.sealed_to = await _sealed_to(tx)
    await _lock(tx, memory, {side for each in targets.values() for side in (each.debit, each.credit)})
    return Batch(memory.names, memory.by_id, memory.sealed_to, at, targets)


async def _sealed_to(tx: Tx) -> date:
    row = await tx.row(_sql["sealed_to"], _Sealed, book=tx.book)
    return date.min if row is None else row.day


def _aims(asked: Sequence[Asked[PostTransaction]]) -> list[UUID]:
    """Return the earlier transfers that legs aim at; a malformed id is refused when its leg is decided."""
    aims: set[UUID] = set()
    for each in asked:
        for leg in each.command.transfers:
            if leg.debit is None:
                aims.update(_readable("trf", text) for text in (leg.capture, leg.release, leg.reverse) if text)
    return sorted(aims)


def _readable(prefix: str, text: str) -> UUID:
    try:
        return ids.parse(prefix, text)
    except Refusal:
        return UUID(int=0)  # nothing has it


async def _targets(tx: Tx, wanted: Sequence[UUID]) -> dict[UUID, Target]:
    """Lock what is left of earlier transfers, then read it: nothing changes it until we commit."""
    chosen = list(wanted)
    await tx.do(_sql["lock_holds"], book=tx.book, ids=chosen)
    await tx.do(_sql["lock_reversals"], book=tx.book, ids=chosen)
    return {each.id: each for each in await tx.rows(_sql["targets"], Target, book=tx.book, ids=chosen)}


def _missing(memory: Recent, asked: Sequence[Asked[PostTransaction]]) -> set[tuple[str, str]]:
    wanted: defaultdict[str | None, set[str | None]] = defaultdict(set)
    for each in asked:
        for leg in each.command.transfers:
            wanted[leg.currency].update((leg.debit, leg.credit))
    missing: set[tuple[str, str]] = set()
    for currency, names in wanted.items():
        if currency is not None:
            called = memory.names.get(currency, _NOBODY)
            missing.update((name, currency) for name in names if name is not None and name not in called)
    return missing


async def _resolve(tx: Tx, memory: Recent, asked: Sequence[Asked[PostTransaction]], sides: set[str]) -> None:
    """Learn every account that is meant and not remembered; again, if some were forgotten while we read."""
    unknown: set[tuple[str, str]] = set()
    while True:
        missing = _missing(memory, asked) - unknown
        others = [each for each in sides if each not in memory.by_id]
        if not missing and not others:
            return
        unknown |= await _read(tx, memory, missing, others)


async def _read(tx: Tx, memory: Recent, names: set[tuple[str, str]], others: Sequence[str]) -> set[tuple[str, str]]:
    """Read accounts by name and by id; return the names that lead nowhere."""
    codes = [(name, asset) for name, asset in names if is_code(name) and is_asset(asset)]
    wanted = [str(_readable("acc", name)) for name, _ in names if name.startswith("acc_")]
    rows: list[Standing] = []
    if codes:
        texts, assets = [code for code, _ in codes], [asset for _, asset in codes]
        rows += await tx.rows(_sql["accounts_by_name"], Standing, book=tx.book, codes=texts, assets=assets)
    if wanted or others:
        rows += await tx.rows(_sql["accounts_by_id"], Standing, book=tx.book, ids=[*wanted, *others])
    learnt = [memory.learn(row) for row in rows]
    return names - {(each.code, each.asset) for each in learnt} - {(each.name, each.asset) for each in learnt}


def _accounts(memory: Recent, asked: Sequence[Asked[PostTransaction]]) -> set[str]:
    found: set[str] = set()
    for each in asked:
        for leg in each.command.transfers:
            called = memory.names.get(leg.currency or "", _NOBODY)
            found.update(called[name].id for name in (leg.debit, leg.credit) if name is not None and name in called)
    return found


async def _lock(tx: Tx, memory: Recent, wanted: Iterable[str]) -> None:
    """Lock accounts in id order and replace what is remembered of them by what is true."""
    chosen = sorted(wanted)
    if not chosen:
        return
    tx.if_rolled_back(lambda: memory.forget(chosen))
    for row in await tx.rows(_sql["lock_accounts"], Standing, book=tx.book, ids=chosen):
        memory.replace(row)


def _stored(
    rows: Sequence[Existing], asked: Sequence[Asked[PostTransaction]]
) -> tuple[dict[UUID, list[Existing]], frozenset[int]]:
    by_transaction: defaultdict[UUID, list[Existing]] = defaultdict(list)
    for row in rows:
        by_transaction[row.transaction].append(row)
    wanted = {each.id for each in asked}
    stored = {each: found for each, found in by_transaction.items() if each in wanted}
    return stored, frozenset(row.id.int for row in rows)
