"""A bank over HTTP, as a channel: what was not sent, what was not answered and what was not taken are told apart.

Promise: once a request may have left, no failure is called a refusal: nobody knows what the bank did until it is asked.
"""

import ssl
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx
import msgspec

from clearhouse import clock
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.bank.control import Balance, Fund, OpenAccount, Paid, SendBack, Settings
from clearhouse.slices.interbank.bank.lies import Lie
from clearhouse.slices.interbank.bank.methods import Terms
from clearhouse.slices.interbank.bank.orders import ACCOUNT_CLOSED
from clearhouse.slices.interbank.channel import (
    BATCH_MAX,
    Ack,
    News,
    NoAnswer,
    NotSent,
    NotTaken,
    PaymentOrder,
    Said,
    Statement,
    Status,
)

Answer = TypeVar("Answer")
NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
WORDS_MAX = 200


class LineUnprotected(Refusal):
    """What is given of certificates for the bank at {url} protects nothing: {problem}."""

    code = "bank_line_unprotected"
    kind = Kind.MALFORMED


class LineUnreadable(Refusal):
    """The certificates for the bank at {url} cannot be used ({files}): {problem}."""

    code = "bank_certificate_unreadable"
    kind = Kind.MALFORMED


class Line(msgspec.Struct, frozen=True):
    """The line to a bank: where it is, our key with it, how long we wait, and by what each side shows who it is."""

    url: str
    key: str
    seconds_max: float = 30.0
    seconds_to_connect_max: float = 5.0
    authority: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what would look safe and not be so."""
        if self._files and not self.url.startswith("https://"):
            raise LineUnprotected(url=self.url, problem="its address does not begin with https://")
        if self.private_key is not None and self.certificate is None:
            raise LineUnprotected(url=self.url, problem="there is a key and no certificate")

    @property
    def _files(self) -> list[Path]:
        return [each for each in (self.authority, self.certificate, self.private_key) if each is not None]

    def trust(self) -> ssl.SSLContext:
        """Return whom we believe, the public authorities if none is named, and what we show ourselves, if anything."""
        try:
            context = ssl.create_default_context(cafile=self.authority)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.private_key)
        except OSError as error:  # what is wrong in a file is one, too: ssl.SSLError
            files = ", ".join(str(each) for each in self._files)
            raise LineUnreadable(url=self.url, files=files, problem=error.strerror or str(error)) from error
        return context


class _Problem(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""


class _Calls:
    """One line, and what its failures mean."""

    def __init__(self, line: Line) -> None:
        self.name = line.url
        self._http = httpx.AsyncClient(
            base_url=line.url,
            headers={"authorization": f"Bearer {line.key}"},
            timeout=httpx.Timeout(line.seconds_max, connect=line.seconds_to_connect_max),
            verify=line.trust(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def get(self, path: str, kind: type[Answer], **query: str | int) -> Answer:
        """Ask for something."""
        return await self._call("GET", path, kind, params=query)

    async def post(self, path: str, kind: type[Answer], body: object) -> Answer:
        """Hand something in."""
        return await self._call("POST", path, kind, content=msgspec.json.encode(body))

    async def _call(self, verb: str, path: str, kind: type[Answer], **given: Any) -> Answer:
        try:
            answer = await self._http.request(verb, path, **given)
        except NEVER_LEFT as error:
            raise NotSent(bank=self.name, reason=_words(error)) from error
        except httpx.RequestError as error:
            raise NoAnswer(bank=self.name, reason=_words(error)) from error
        if not answer.is_success:
            raise self._failed(answer)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NoAnswer(bank=self.name, reason=f"its answer cannot be read: {_words(error)}") from error

    def _failed(self, answer: httpx.Response) -> NotSent | NoAnswer | NotTaken:
        try:
            problem = msgspec.json.decode(answer.content, type=_Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            problem = _Problem()
        if problem.code == NotSent.code:
            return NotSent(bank=self.name, reason="it says that it took nothing")
        reason = f"it answered {answer.status_code} {problem.detail[:WORDS_MAX]}".strip()
        if answer.is_client_error and answer.status_code != HTTPStatus.REQUEST_TIMEOUT:
            return NotTaken(bank=self.name, reason=reason)
        return NoAnswer(bank=self.name, reason=reason)


class HttpBank:
    """A bank at the other end of a line. `control` is there if it is the simulated one."""

    def __init__(self, line: Line) -> None:
        self._calls = _Calls(line)
        self.control = HttpControl(self._calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up."""
        await self._calls.close()

    async def send(self, orders: Sequence[PaymentOrder]) -> list[Ack]:
        """Hand in orders; whatever has no answer at its place was answered with silence."""
        given = await self._calls.post("/orders", list[Ack | None], orders)
        return [_own(order, ack) for order, ack in zip_longest(orders, given[: len(orders)])]

    async def ask(self, orders: Sequence[UUID]) -> list[Status]:
        """Return how far each order is."""
        return await self._calls.post("/orders/ask", list[Status], orders)

    async def news(self, *, after: str = "", most: int = 1_000) -> News:
        """Return what was said since a cursor."""
        return await self._calls.get("/news", News, after=after, most=most)

    async def statement(
        self,
        account: str,
        *,
        after: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        most: int = BATCH_MAX,
    ) -> Statement:
        """Return the bookings of an account."""
        between = {name: clock.text(each) for name, each in (("since", since), ("until", until)) if each is not None}
        return await self._calls.get("/statement", Statement, account=account, after=after, most=most, **between)


class HttpControl:
    """The control of a simulated bank at the other end of a line; its calls are those of `control.Control`."""

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    async def open(self, accounts: Sequence[OpenAccount]) -> list[Balance]:
        """Open accounts, and return how they all stand."""
        return await self._calls.post("/control/open", list[Balance], accounts)

    async def fund(self, account: str, amount: str, *, reference: str = "") -> None:
        """Bring money into an account from outside."""
        await self._calls.post("/control/fund", type(None), Fund(account, amount, reference))

    async def send_back(self, orders: Sequence[UUID], *, code: str = ACCOUNT_CLOSED) -> None:
        """Return what was paid for orders."""
        await self._calls.post("/control/send-back", type(None), SendBack(list(orders), code))

    async def lie(self, *lies: Lie) -> None:
        """Tell these lies too."""
        await self._calls.post("/control/lie", type(None), lies)

    async def honest(self) -> None:
        """Tell no lie any more."""
        await self._calls.post("/control/honest", type(None), None)

    async def set_terms(self, terms: Sequence[Terms]) -> None:
        """Set the terms of methods."""
        await self._calls.post("/control/terms", type(None), terms)

    async def set_seed(self, seed: int) -> None:
        """Draw lots by another seed."""
        await self._calls.post("/control/seed", type(None), seed)

    async def set_latency(self, seconds: float) -> None:
        """Answer every call so many seconds later."""
        await self._calls.post("/control/latency", type(None), seconds)

    async def move_clock(self, seconds: float) -> None:
        """Move the bank's clock forward."""
        await self._calls.post("/control/clock", type(None), seconds)

    async def settings(self) -> Settings:
        """Return how the bank is set."""
        return await self._calls.post("/control/settings", Settings, None)

    async def paid(self, orders: Sequence[UUID]) -> list[Paid]:
        """Return what really happened to orders."""
        return await self._calls.post("/control/paid", list[Paid], orders)

    async def balances(self) -> list[Balance]:
        """Return every account."""
        return await self._calls.post("/control/balances", list[Balance], None)

    async def trial_balance(self) -> dict[str, str]:
        """Return what all accounts of each currency sum to."""
        return await self._calls.post("/control/trial-balance", dict[str, str], None)


def _own(order: PaymentOrder, ack: Ack | None) -> Ack:
    """Return the word on an order; one on another order is none."""
    return ack if ack is not None and ack.id == order.id else Ack(order.id, Said.SILENT)


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:WORDS_MAX]
