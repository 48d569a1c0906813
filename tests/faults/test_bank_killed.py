"""The bank's server is killed in mid-batch: asked again, it says the truth, and what is sent again is paid once."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.slices.interbank.bank.client import HttpBank, Line
from clearhouse.slices.interbank.bank.control import OpenAccount
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.channel import BATCH_MAX, Ack, NoAnswer, NotSent, PaymentOrder, Said, State
from correspondent import KEY, NOSTRO, Correspondent, amounts, order
from serving import Program, copied, program
from trying import SOAK

CONNECTIONS, SIZE = 4, 50
ROUNDS = 10 if SOAK else 1
ANSWERS = 2_000 if SOAK else 500
SECONDS_MAX = 120.0


@dataclass
class Load:
    """Batches of orders, and what was answered."""

    sent: list[PaymentOrder] = field(default_factory=list[PaymentOrder])
    accepted: set[str] = field(default_factory=set[str])
    unsent: set[str] = field(default_factory=set[str])

    async def until_killed(self, url: str, kill: Callable[[], None]) -> None:
        """Let every connection send, kill in the middle, and go on for as long as anybody is there."""
        enough, killed = len(self.accepted) + ANSWERS, asyncio.Event()
        async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTIONS):
                tasks.create_task(self._connection(url, killed, enough))
            await killed.wait()
            kill()

    async def _connection(self, url: str, killed: asyncio.Event, enough: int) -> None:
        async with HttpBank(Line(url, KEY)) as bank:
            while True:
                batch = [order("0.01") for _ in range(SIZE)]
                self.sent += batch
                try:
                    self.heard(await bank.send(batch))
                except NotSent:
                    self.unsent |= {str(each.id) for each in batch}
                    return
                except NoAnswer:
                    return
                if len(self.accepted) >= enough:
                    killed.set()

    def heard(self, acks: list[Ack]) -> None:
        self.accepted |= {str(each.id) for each in acks if each.said is Said.ACCEPTED}


@pytest.fixture
def folder(open_folder: Path, made: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="bank-", dir=open_folder))
    place.chmod(0o711)
    bank = copied(made, place / "bank")
    yield place
    asyncio.run(EmbeddedServer.destroy(bank))


def kill_the_server(server: Program) -> None:
    os.kill(server.process.pid, signal.SIGKILL)


def test_killed_in_mid_batch_the_bank_says_the_truth_afterwards_and_pays_nothing_twice(folder: Path) -> None:
    load = Load()
    for turn in range(ROUNDS):
        with program(folder, verb="bank", BANK_PORT="0", BANK_KEY=KEY) as server:
            url = server.after("listening on ")
            if turn == 0:
                asyncio.run(opened(url))
            asyncio.run(load.until_killed(url, lambda: kill_the_server(server)))
    with program(folder, verb="bank", BANK_PORT="0", BANK_KEY=KEY) as server:
        asyncio.run(asked_again(server.after("listening on "), load))


async def opened(url: str) -> None:
    async with HttpBank(Line(url, KEY)) as bank:
        await bank.control.open([OpenAccount(NOSTRO, "USD", "1000000.00")])
        await bank.control.lie(Lie(Fault.LOSE_AFTER, share=0.05), Lie(Fault.SLOW, share=0.05, seconds=60))


async def asked_again(url: str, load: Load) -> None:
    """See that what was accepted is there, that what was not sent is not, and that all is paid once in the end."""
    async with HttpBank(Line(url, KEY, seconds_max=SECONDS_MAX)) as http:
        bank = Correspondent(http, http.control)
        await bank.control.honest()
        for start in range(0, len(load.sent), BATCH_MAX):
            await paid_once(bank, load, load.sent[start : start + BATCH_MAX])
        page = await http.statement(NOSTRO)
        assert amounts(page.lines) == ["1000000.00", *["-0.01"] * len(load.sent)][:BATCH_MAX]
        assert Decimal((await bank.holds())[0]) == 1_000_000 - len(load.sent) * Decimal("0.01")
        assert await bank.is_balanced()


async def paid_once(bank: Correspondent, load: Load, batch: list[PaymentOrder]) -> None:
    """Ask for orders, send them again, let the slow ones be done, and see each of them paid once."""
    names = [each.id for each in batch]
    states = {str(each.id): each.state for each in await bank.channel.ask(names)}
    assert all(states[each] in {State.ACCEPTED, State.CONFIRMED} for each in load.accepted & states.keys())
    assert all(states[each] is State.UNKNOWN for each in load.unsent & states.keys())
    assert set(await bank.send(*batch)) == {"accepted"}
    await bank.control.move_clock(60)
    paid = await bank.control.paid(names)
    assert [(each.times, each.debited) for each in paid] == [(1, "0.01")] * len(batch)
