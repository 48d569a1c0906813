"""The simulated bank over HTTP: the four calls of the seam, and its control, as JSON in batches under one API key.

Promise: what it is not to say, it does not: where the answer to an order is lost there is nothing, and a bank that falls
silent hangs up in the middle of a word.
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, cast
from uuid import UUID

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from clearhouse import clock
from clearhouse.refusals import Kind, NotFound, Refusal
from clearhouse.slices.interbank.bank.control import Control, Fund, OpenAccount, SendBack
from clearhouse.slices.interbank.bank.lies import Lie
from clearhouse.slices.interbank.bank.methods import Terms
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.channel import BATCH_MAX, NoAnswer, PaymentOrder, Said
from clearhouse.transport.http.problems import ANSWERS

BODY_BYTES_MAX = 32 * 1024 * 1024
SILENT = "x-silent"
_orders = msgspec.json.Decoder(list[PaymentOrder])
_ids = msgspec.json.Decoder(list[UUID])
Asking = Request[Any, Any, Any]


class KeyUnknown(Refusal):
    """The bank knows nobody by this key; send it as Authorization: Bearer."""

    code = "bank_key_unknown"
    kind = Kind.UNAUTHENTICATED


def application(bank: SimulatedBank, key: str) -> ASGIApp:
    """Return an ASGI application for a bank, open to whoever has the key."""
    inner = Litestar(
        [health, send, ask, news, statement, control],
        exception_handlers={**ANSWERS, NoAnswer: _silence},
        guards=[_known],
        state=State({"bank": bank, "key": key}),
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return _hanging_up(inner)


@get("/health")
async def health() -> dict[str, str]:
    """Say that it is there, to anybody."""
    return {"status": "ok"}


@post("/orders", status_code=200)
async def send(request: Asking) -> Response[bytes]:
    """Take orders in; where an answer is lost there is none."""
    acks = await _bank(request).send(_orders.decode(await request.body()))
    return _answer([None if each.said is Said.SILENT else each for each in acks])


@post("/orders/ask", status_code=200)
async def ask(request: Asking) -> Response[bytes]:
    """Say how far orders are."""
    return _answer(await _bank(request).ask(_ids.decode(await request.body())))


@get("/news")
async def news(request: Asking, after: FromQuery[str] = "", most: FromQuery[int] = 1_000) -> Response[bytes]:
    """Say what was said since a cursor."""
    return _answer(await _bank(request).news(after=after, most=most))


@get("/statement")
async def statement(
    request: Asking,
    *,
    account: FromQuery[str],
    after: FromQuery[str] = "",
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
    most: FromQuery[int] = BATCH_MAX,
) -> Response[bytes]:  # fmt: skip
    """Give a page of a statement."""
    between = {name: clock.parse(each) for name, each in (("since", since), ("until", until)) if each}
    return _answer(await _bank(request).statement(account, after=after, most=most, **between))


@post("/control/{call:str}", status_code=200)
async def control(request: Asking, call: FromPath[str]) -> Response[bytes]:
    """Do what no real bank does for its customer."""
    if call not in CALLS:
        raise NotFound(what="call", id=call[:64])
    shape, run = CALLS[call]
    return _answer(await run(_bank(request).control, msgspec.json.decode(await request.body(), type=shape)))


def _bank(request: Asking) -> SimulatedBank:
    return cast("SimulatedBank", request.app.state["bank"])


def _known(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    wanted = f"Bearer {connection.app.state['key']}".encode()
    if "/health" not in handler.paths and not hmac.compare_digest(
        connection.headers.get("authorization", "").encode(), wanted
    ):
        raise KeyUnknown


def _answer(value: object) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _silence(_: Asking, _silent: NoAnswer) -> Response[bytes]:
    return Response(b"", headers={SILENT: "1"})


def _hanging_up(inner: ASGIApp) -> ASGIApp:
    """Begin an answer and hang up where there is to be none: so the other side cannot know what was done."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        hung_up = False

        async def passing(message: Message) -> None:
            nonlocal hung_up
            if message["type"] == "http.response.start" and (SILENT.encode(), b"1") in message["headers"]:
                hung_up = True
                message = {**message, "headers": [(b"content-length", b"1")]}
            elif hung_up:
                return
            await send(message)

        await inner(scope, receive, passing)

    return outer


Call = tuple[Any, Callable[[Control, Any], Awaitable[object]]]
# What may be asked of the control: what the body is, and what is done with it.
CALLS: dict[str, Call] = {
    "open": (list[OpenAccount], lambda control, given: control.open(given)),
    "fund": (Fund, lambda control, given: control.fund(given.account, given.amount, reference=given.reference)),
    "send-back": (SendBack, lambda control, given: control.send_back(given.orders, code=given.code)),
    "lie": (list[Lie], lambda control, given: control.lie(*given)),
    "honest": (None, lambda control, _: control.honest()),
    "terms": (list[Terms], lambda control, given: control.set_terms(given)),
    "seed": (int, lambda control, given: control.set_seed(given)),
    "latency": (float, lambda control, given: control.set_latency(given)),
    "clock": (float, lambda control, given: control.move_clock(given)),
    "settings": (None, lambda control, _: control.settings()),
    "paid": (list[UUID], lambda control, given: control.paid(given)),
    "balances": (None, lambda control, _: control.balances()),
    "trial-balance": (None, lambda control, _: control.trial_balance()),
}
