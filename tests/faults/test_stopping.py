"""A stop while the database is away: whatever is under way, the program ends soon, and as it always does."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from breaking import away
from clearhouse.kernel.db.survivors import survivors
from house import SECRETS_KEY, movement, transaction
from serving import Program, Serving, operator_key, program, serving, until

ADMIN_KEY = "the-admin-key-of-this-house"
LEDGER = "/api/v1/ledger"
CALLERS_EACH = 4
ENOUGH = 5
SECONDS_TO_END_MAX = 30.0  # it takes five
NOBODY_LISTENS = "http://127.0.0.1:9/hook"
HOOK = {"url": NOBODY_LISTENS}


@pytest.fixture
def server(laid_out: Callable[[str], Path]) -> Iterator[Serving]:
    """Give a database that is nobody's of the programs below."""
    with serving(laid_out("elsewhere")) as started:
        yield started


@contextmanager
def refusing(server: Serving) -> Generator[None]:
    with away(server.dsn):
        yield


@contextmanager
def silent(server: Serving) -> Generator[None]:
    """Let it take whatever comes, and never answer."""
    below = survivors(server.pgdata)
    for each in below:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in below:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


class Callers:
    """Those who ask again and again, each in its own manner, until nobody is there any more."""

    def __init__(self, url: str, key: str) -> None:
        self.answered = Counter[str]()
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120)
        body = transaction(movement("shop", "revenue", "1.00"))
        manners = {
            "post": lambda: self._client.post(f"{LEDGER}/transactions", json=body),
            "read": lambda: self._client.get(f"{LEDGER}/accounts"),
            "export": lambda: self._client.get("/api/v1/audit/export"),
        }
        self._threads = [
            threading.Thread(target=self._ask, args=(name, ask))
            for name, ask in manners.items()
            for _ in range(CALLERS_EACH)
        ]

    def begin(self) -> None:
        for code in ("shop", "revenue"):
            self._client.post(f"{LEDGER}/accounts", json={"code": code, "asset": "USD"})
        for each in self._threads:
            each.start()
        until(lambda: min(self.answered[name] for name in ("post", "read", "export")) >= ENOUGH)

    def end(self) -> None:
        for each in self._threads:
            each.join()
        self._client.close()

    def _ask(self, name: str, ask: Callable[[], httpx.Response]) -> None:
        with suppress(httpx.TransportError):
            while True:
                ask()
                self.answered[name] += 1


@contextmanager
def begun(server: Serving, folder: Path) -> Generator[tuple[Program, Program, Callers]]:
    """Run the program and a worker of its own on a database elsewhere, with everything under way."""
    settings: dict[str, Any] = {
        "DATABASE_URL": server.dsn, "SECRETS_KEYS": SECRETS_KEY, "ADMIN_KEY": ADMIN_KEY, "RATE_LIMIT": "1000000",
        "WEBHOOK_NETWORKS": "127.0.0.0/8",
    }  # fmt: skip
    folder.mkdir()
    with program(folder, **settings) as running, program(folder, verb="worker", **settings) as worker:
        running.ready()
        until(lambda: "working" in worker.told)
        callers = Callers(running.url, operator_key(running.url, ADMIN_KEY))
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        httpx.post(f"{running.url}/api/v1/webhooks", json=HOOK, headers=headers).raise_for_status()
        callers.begin()
        yield running, worker, callers


@pytest.mark.timeout(300)
@pytest.mark.parametrize("gone", [refusing, silent])
def test_a_stop_does_not_wait_for_a_database_that_is_away(
    server: Serving, open_folder: Path, gone: Callable[[Serving], AbstractContextManager[None]]
) -> None:
    with begun(server, open_folder / f"stopping-{gone.__name__}") as (running, worker, callers):
        with gone(server):
            both = (running, worker)
            for each in both:
                os.killpg(each.process.pid, signal.SIGTERM)
            assert [each.process.wait(SECONDS_TO_END_MAX) for each in both] == [0, 0]
            callers.end()
        assert [each.told.splitlines()[-1] for each in both] == ["clearhouse: stopped"] * 2
