"""Killed in the middle of load: what was acknowledged is there, nothing is there twice, and a retry has its one answer."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from clearhouse import ids
from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.kernel.db.survivors import survivors
from serving import Program, operator_key, program, until
from trying import SOAK

ADMIN_KEY = "the-key-of-these-tests"
ACCOUNTS = [f"account:{number}" for number in range(10)]
CONNECTIONS = 16
HOT = "hot"
LEDGER = "/api/v1/ledger"
POSTED, REFUSED = {200, 201}, {422}
ROUNDS = 10 if SOAK else 1
ANSWERS = 1_000 if SOAK else 250  # before the axe falls, and, where the program lives, as many after it
SECONDS_MAX = 120.0

Body = dict[str, Any]
Counters = tuple[int, int, int, int]


@dataclass(slots=True)
class Load:
    """What was asked under which key, what was answered, and who asks."""

    key: str = ""
    asked: dict[str, Body] = field(default_factory=dict[str, Body])
    answers: dict[str, httpx.Response] = field(default_factory=dict[str, httpx.Response])
    holds: dict[str, Body] = field(default_factory=dict[str, Body])
    ours: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def posted(self) -> dict[str, Any]:
        return {key: answer.json() for key, answer in self.answers.items() if answer.status_code in POSTED}

    @property
    def unanswered(self) -> list[str]:
        return [key for key in self.asked if key not in self.answers]

    def client(self, server: Program) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=SECONDS_MAX)

    def begin(self, server: Program) -> None:
        self.key = operator_key(server.url, ADMIN_KEY)
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60) as operator:
            for place, code in enumerate([HOT, *ACCOUNTS]):
                rules = {"floor": "-5.00"} if place % 3 == 2 else {}
                operator.post(f"{LEDGER}/accounts", json={"code": code, "asset": "USD", **rules}).raise_for_status()

    async def until_killed(self, server: Program, kill: Callable[[Program], None]) -> None:
        """Let every connection post, kill in the middle, and go on for as long as anybody is there."""
        self.answered, enough = asyncio.Event(), len(self.answers) + ANSWERS
        async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as tasks:
            for place in range(CONNECTIONS):
                tasks.create_task(self._connection(server, place, enough + ANSWERS))
            await self._answered(enough)
            kill(server)

    async def _answered(self, enough: int) -> None:
        while len(self.answers) < enough:
            self.answered.clear()
            await self.answered.wait()

    async def _connection(self, server: Program, place: int, enough: int) -> None:
        async with self.client(server) as client:
            while len(self.answers) < enough:
                key = f"{place}-{len(self.asked)}"
                self.asked[key] = self._body(place)
                try:
                    await self.ask(client, key, place)
                except httpx.TransportError:
                    return

    async def ask(self, client: httpx.AsyncClient, key: str, place: int) -> None:
        body = self.asked[key]
        answer = await client.post(f"{LEDGER}/transactions", json=body, headers={"Idempotency-Key": key})
        assert answer.status_code in POSTED | REFUSED | {409, 503}, answer.text
        if answer.status_code not in POSTED | REFUSED:
            return
        self.answers[key] = answer
        self.answered.set()
        if answer.status_code in POSTED and body["transfers"][0].get("pending"):
            self.holds[answer.json()["id"].replace("trx", "trf")] = body["transfers"][0]
            self.ours.setdefault(place, []).append(answer.json()["id"].replace("trx", "trf"))

    def _body(self, place: int) -> Body:
        """Return a payment of some kind, or the capture of a hold that this connection has made."""
        if self.ours.get(place) and random.random() < 0.5:
            return {"transfers": [{"capture": self.ours[place].pop(), "amount": "0.01", "final": True}]}
        debit, credit, third = random.sample(ACCOUNTS, 3)
        first = {"debit": random.choice([debit, HOT]), "credit": credit, "amount": _amount(), "currency": "USD"}
        second = {"debit": credit, "credit": third, "amount": _amount(), "currency": "USD"}
        return random.choice(
            [{"transfers": [first]}, {"transfers": [first | {"pending": True}]}, {"transfers": [first, second]}]
        )

    async def retried(self, server: Program) -> None:
        """Ask everything again that has no answer, with its key, until it has one."""
        async with asyncio.timeout(SECONDS_MAX), self.client(server) as client:
            for key in self.unanswered:
                while key not in self.answers:
                    await self.ask(client, key, int(key.partition("-")[0]))

    async def asked_again(self, server: Program, most: int = 100) -> list[tuple[Any, Any]]:
        """Ask some again that have an answer, and return both answers."""
        found: list[tuple[Any, Any]] = []
        async with self.client(server) as client:
            for key in random.sample(sorted(self.answers), most):
                before = self.answers[key]
                await self.ask(client, key, -1)
                found.append((_told(before), _told(self.answers[key])))
        return found

    def replayed(self) -> dict[str, Counters]:
        """Return the four counters of each account as the answers make them."""
        sums = {code: [0, 0, 0, 0] for code in (HOT, *ACCOUNTS)}
        for key in self.posted:
            for leg in self.asked[key]["transfers"]:
                hold = self.holds[leg["capture"]] if "capture" in leg else leg
                posted, held = _effect(leg, hold)
                for code, side in ((hold["debit"], 0), (hold["credit"], 1)):
                    sums[code][side] += posted
                    sums[code][side + 2] += held
        return {code: (a, b, c, d) for code, (a, b, c, d) in sums.items()}


def _amount() -> str:
    return str(Decimal(random.randrange(1, 1_000)) / 100)


def _told(answer: httpx.Response) -> tuple[Any, Any]:
    body = answer.json()
    return body["id"] if answer.status_code in POSTED else body["code"], body.get("booked")


def _effect(leg: Body, hold: Body) -> tuple[int, int]:
    """Return what a leg adds to what is posted and to what is held, in cents."""
    amount, held = (int(Decimal(each["amount"]) * 100) for each in (leg, hold))
    if "capture" in leg:
        return amount, -held
    return (0, amount) if leg.get("pending") else (amount, 0)


def kill_the_program(server: Program) -> None:
    os.kill(server.process.pid, signal.SIGKILL)


def kill_postgresql(server: Program) -> None:
    os.kill(server.postmaster, signal.SIGKILL)


def kill_both(server: Program) -> None:
    kill_postgresql(server)
    kill_the_program(server)


def kill_one_connection(server: Program) -> None:
    """Kill a process that serves a connection: PostgreSQL then ends all of them and recovers by itself."""
    speaking = [pid for pid in survivors(server.pgdata) if b"clearhouse_app" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(random.choice(speaking), signal.SIGKILL)


@pytest.fixture
def folder(laid_out: Callable[[str], Path]) -> Iterator[Path]:
    place = laid_out("load")
    yield place
    asyncio.run(EmbeddedServer.destroy(place))


@pytest.mark.parametrize(
    "kill",
    [
        kill_the_program,
        kill_postgresql,
        pytest.param(kill_both, marks=pytest.mark.soak),
        pytest.param(kill_one_connection, marks=pytest.mark.soak),
    ],
)
def test_whoever_is_killed_nothing_acknowledged_is_lost_or_there_twice(
    folder: Path, kill: Callable[[Program], None]
) -> None:
    load = Load()
    for turn in range(ROUNDS):
        with program(folder, ADMIN_KEY=ADMIN_KEY, RATE_LIMIT="1000000") as server:
            if turn == 0:
                load.begin(server.ready())
            asyncio.run(load.retried(server.ready()))
            asyncio.run(load.until_killed(server, kill))
    with program(folder, ADMIN_KEY=ADMIN_KEY, RATE_LIMIT="1000000") as server:
        asyncio.run(load.retried(server.ready()))
        assert_whole(server, load)
        assert all(before == after for before, after in asyncio.run(load.asked_again(server)))
        assert_whole(server, load)


def assert_whole(server: Program, load: Load) -> None:
    """See that the books and the journal say what the answers said, each thing once, and that both verify."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {load.key}"}, timeout=SECONDS_MAX) as auditor:
        until(lambda: auditor.post("/api/v1/audit/verify").json().get("unsealed", 0) == 0)
        assert auditor.post("/api/v1/audit/verify").json()["intact"]
        assert auditor.post(f"{LEDGER}/verify").json()["intact"]
    dsn = EmbeddedServer.address(server.folder)
    assert dsn is not None
    with psycopg.connect(dsn, options="-c search_path=clearhouse") as owner:
        assert booked(owner) == {each["id"]: len(each["transfers"]) for each in load.posted.values()}
        assert counters(owner) == load.replayed()
        assert told(owner) == Counter(each["id"] for each in load.posted.values())
        numbers = owner.execute("SELECT array_agg(number ORDER BY number) FROM journal").fetchone()
        assert numbers is not None
        assert numbers[0] == list(range(1, len(numbers[0]) + 1))


def booked(owner: psycopg.Connection) -> dict[str, int]:
    """Return how many transfers each transaction has."""
    rows = owner.execute("SELECT transaction, count(*) FROM ledger_transfer GROUP BY transaction")
    return {ids.text("trx", transaction): legs for transaction, legs in rows}


def counters(owner: psycopg.Connection) -> dict[str, Counters]:
    rows = owner.execute("SELECT code, debits_posted, credits_posted, debits_pending, credits_pending FROM ledger_account")
    return {code: (int(a), int(b), int(c), int(d)) for code, a, b, c, d in rows}


def told(owner: psycopg.Connection) -> "Counter[str]":
    """Return how often the journal says of each transaction that it was posted."""
    lines = [line for (text,) in owner.execute("SELECT lines FROM journal") for line in msgspec.json.decode(text)]
    return Counter(line["subject"] for line in lines if line["event"] == "ledger.posted")
