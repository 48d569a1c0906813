"""Interbank over gRPC: the six calls of the settlement engine, decoded, carried out, encoded.

Promise: what is asked here is judged by the very types that HTTP reads into, so the same mistake has the same code.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any

import grpc.aio
import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from clearhouse import clock
from clearhouse.refusals import Malformed, Refusal
from clearhouse.slices.interbank import banks, commands, reading, views
from clearhouse.slices.interbank.banks import BankAccount, NoSuchAccount, Side
from clearhouse.slices.interbank.engines import channel_of
from clearhouse.slices.interbank.parties import party, require_ours
from clearhouse.slices.interbank.reconciling import SCOPE, compare
from clearhouse.slices.interbank.settlement import ExecuteSettlement, Settlement
from clearhouse.slices.interbank.telling import Listening, tell
from clearhouse.transport.rpc.problems import Context
from clearhouse.transport.rpc.serving import credential, visit
from clearhouse.v1 import interbank_pb2 as wire
from clearhouse.v1 import interbank_pb2_grpc as stubs

NAME = wire.DESCRIPTOR.services_by_name["SettlementEngine"].full_name


def add(server: grpc.aio.Server) -> str:
    """Put the settlement engine on a server, and return its full name."""
    stubs.add_SettlementEngineServicer_to_server(SettlementEngine(), server)
    return NAME


class SettlementEngine(stubs.SettlementEngineServicer):
    """The six calls."""

    async def ExecuteSettlement(  # noqa: N802 - a call is named by its contract
        self, request: wire.ExecuteSettlementRequest, context: Context
    ) -> wire.ExecuteSettlementResponse:
        """Validate an obligation and lock its funds."""
        del context
        command = _command(request)
        here = visit()
        here.require(commands.EXECUTE, request.book or None)
        found = await views.execute(here, [command], book=request.book or None, key=request.idempotency_key or None)
        if isinstance(found[0], Refusal):
            raise found[0]
        return wire.ExecuteSettlementResponse(settlement=shown(found[0]))

    async def GetSettlementStatus(  # noqa: N802 - a call is named by its contract
        self, request: wire.GetSettlementStatusRequest, context: Context
    ) -> wire.GetSettlementStatusResponse:
        """Return a settlement with its steps."""
        del context
        mine = party(visit().caller)
        async with visit().reading(commands.READ, request.book or None) as tx:
            found = await reading.detail(tx, request.settlement_id, party=mine)
        steps = [wire.Checkpoint(attempt=each.attempt, step=each.step, at=instant(each.at)) for each in found.checkpoints]
        return wire.GetSettlementStatusResponse(settlement=shown(views.shown(found.settlement, mine)), checkpoints=steps)

    async def GetNostroBalance(  # noqa: N802 - a call is named by its contract
        self, request: wire.GetNostroBalanceRequest, context: Context
    ) -> wire.GetNostroBalanceResponse:
        """Return what is on our account at a bank."""
        del context
        return wire.GetNostroBalanceResponse(balance=await _balance("nostro", request.bank, request.currency, request.book))

    async def GetVostroBalance(  # noqa: N802 - a call is named by its contract
        self, request: wire.GetVostroBalanceRequest, context: Context
    ) -> wire.GetVostroBalanceResponse:
        """Return what is on a bank's account with us."""
        del context
        return wire.GetVostroBalanceResponse(balance=await _balance("vostro", request.bank, request.currency, request.book))

    async def ReconcileAccounts(  # noqa: N802 - a call is named by its contract
        self, request: wire.ReconcileAccountsRequest, context: Context
    ) -> wire.ReconcileAccountsResponse:
        """Compare our nostros with what their banks say."""
        del context
        here = visit()
        book = here.require(SCOPE, request.book or None)
        require_ours(here.caller, request.bank)
        channel = await channel_of(here.door.database, book)
        found = await compare(
            here.door, channel, caller=here.caller, book=book, bank=request.bank or None, currency=request.currency or None
        )
        reports = [
            wire.ReconciliationReport(
                id=each.id, bank=each.bank, currency=each.currency, status=each.status, our_balance=each.our_balance,
                their_balance=each.their_balance, difference=each.difference, matched=each.matched, missing=each.missing,
                unexpected=each.unexpected, at=instant(each.at),
            )
            for each in found
        ]  # fmt: skip
        return wire.ReconcileAccountsResponse(reports=reports)

    async def StreamSettlementEvents(  # noqa: N802 - a call is named by its contract
        self, request: wire.StreamSettlementEventsRequest, context: Context
    ) -> AsyncIterator[wire.SettlementEvent]:
        """Tell what happens to settlements, until the caller leaves, or may no longer hear of it."""
        here = visit()
        book = here.require(commands.READ, request.book or None)
        wanted = Listening(list(request.settlement_ids), list(request.banks), party(here.caller))
        may = partial(here.may_still, commands.READ, book, *credential(context))
        async for told in tell(here, book, wanted, after=request.after, may=may):
            change = told.change
            yield wire.SettlementEvent(
                id=told.id, type=told.type, settlement_id=told.settlement, state=state(change.state.value),
                from_bank=change.from_bank, to_bank=change.to_bank, amount=change.amount, currency=change.currency,
                obligation_id=change.obligation_id, captured=change.captured or "", waiting_for=change.waiting_for or "",
                reason=change.reason or "", at=instant(clock.parse(told.at)),
            )  # fmt: skip


def _command(request: wire.ExecuteSettlementRequest) -> ExecuteSettlement:
    asked: dict[str, Any] = {
        name: getattr(request, name)
        for name in ("obligation_id", "from_bank", "to_bank", "amount", "currency", "remittance")
        if name != "remittance" or request.remittance
    }
    for name in ("debtor", "creditor"):
        if request.HasField(name):
            given = getattr(request, name)
            asked[name] = {"name": given.name, "iban": given.iban}
    if request.method:
        asked["method"] = _word(wire.Method.Name, request.method)
    if request.priority:
        asked["priority"] = _word(wire.Priority.Name, request.priority)
    try:
        return msgspec.convert(asked, ExecuteSettlement)
    except msgspec.ValidationError as error:
        raise Malformed(field="the body", problem=str(error)[:300].rstrip(".")) from error


def _word(name: Any, number: int) -> str:
    """Return what a number of an enum means without its prefix; one that we do not know is judged like any wrong word."""
    try:
        return str(name(number)).partition("_")[2]
    except ValueError:
        return str(number)


def instant(at: datetime) -> Timestamp:
    """Return an instant as protobuf has it."""
    made = Timestamp()
    made.FromDatetime(at)
    return made


def shown(found: Settlement) -> wire.Settlement:
    """Return a settlement as it goes over this wire."""
    made = wire.Settlement(
        id=found.id, obligation_id=found.obligation_id, from_bank=found.from_bank, to_bank=found.to_bank,
        amount=found.amount, currency=found.currency, method=wire.Method.Value(f"METHOD_{found.method}"),
        priority=wire.Priority.Value(f"PRIORITY_{found.priority}"), state=state(found.state.value), uetr=found.uetr,
        captured=found.captured, returned=found.returned or "", waiting_for=found.waiting_for or "",
        reason=found.reason or "", remark=found.remark or "", attempts=found.attempts, compensates=found.compensates or "",
        accepted_at=instant(found.accepted_at),
    )  # fmt: skip
    for name in ("due_at", "sent_at", "ended_at"):
        at: datetime | None = getattr(found, name)
        if at is not None:
            getattr(made, name).FromDatetime(at)
    return made


def state(word: str) -> wire.SettlementState.ValueType:
    """Return a state as this wire numbers it."""
    return wire.SettlementState.Value(f"SETTLEMENT_STATE_{word}")


async def _balance(side: Side, bank: str, currency: str, book: str) -> wire.Balance:
    async with visit().reading(commands.READ, book or None) as tx:
        if party(visit().caller) not in {None, bank}:
            raise NoSuchAccount(side=side, bic=bank, currency=currency)
        found: BankAccount = await banks.find_account(tx, side, bank, currency)
    return wire.Balance(
        bank=found.bank, currency=found.currency, number=found.number, state=found.state, balance=found.balance,
        held=found.held, available=found.available, credit_line=found.credit_line,
    )  # fmt: skip
