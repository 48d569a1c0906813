"""Rate limits per principal: a bucket that fills at a rate, in the process or shared over Redis.

Promise: together, all processes let through at most the rate and one burst. A process takes tokens from the shared bucket a
twentieth of a second's worth at a time, so that Redis is asked rarely; what it does not use within a second is lost.
If Redis is away or does not answer at once, each process limits by itself, and asks again a second later.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from clearhouse.refusals import Kind, Refusal

SHARES_OF_A_SECOND = 20
LEASE_SECONDS = 1.0
ANSWER_SECONDS_MAX = 0.25
AWAY_SECONDS = 1.0
PRINCIPALS_MAX = 10_000
_log = structlog.get_logger(__name__)

_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local rate, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(kept[1]) or burst, tonumber(kept[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 1000000)
local given = math.floor(math.min(tokens, wanted))
redis.call('HSET', KEYS[1], 'tokens', tokens - given, 'at', now)
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
return given
"""


class TooManyRequests(Refusal):
    """You are asking more than {rate} times a second; ask again in {seconds} s."""

    code = "too_many_requests"
    kind = Kind.LIMITED
    retryable = True


@dataclass(slots=True)
class Bucket:
    """How many requests are free now, and when that was so."""

    tokens: float
    at: float


class Limiter(Protocol):
    """Something that counts requests."""

    async def take(self, principal: UUID) -> None:
        """Count one request, or refuse it."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class OwnLimiter:
    """Counts in this process."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.burst = rate * 2
        self._buckets: dict[UUID, Bucket] = {}

    async def take(self, principal: UUID) -> None:
        """Count one request, or refuse it."""
        now = asyncio.get_running_loop().time()
        bucket = self._buckets.get(principal)
        if bucket is None:
            if len(self._buckets) >= PRINCIPALS_MAX:
                self._buckets.clear()
            bucket = self._buckets[principal] = Bucket(self.burst, now)
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.at) * self.rate)
        bucket.at = now
        if bucket.tokens < 1:
            raise TooManyRequests(rate=str(self.rate), seconds="1")
        bucket.tokens -= 1

    async def close(self) -> None:
        """Let go of nothing."""


class SharedLimiter:
    """Counts over Redis, for every process that is given the same address."""

    def __init__(self, rate: int, url: str) -> None:
        self.rate = rate
        self.burst = rate * 2
        self._redis = Redis.from_url(
            url, socket_timeout=ANSWER_SECONDS_MAX, socket_connect_timeout=ANSWER_SECONDS_MAX, retry=Retry(NoBackoff(), 0)
        )
        self._take = self._redis.register_script(_TAKE)
        self._leases: dict[UUID, Bucket] = {}
        self._alone = OwnLimiter(rate)
        self._asking: dict[UUID, asyncio.Task[int | None]] = {}
        self._away_until = 0.0

    async def take(self, principal: UUID) -> None:
        """Count one request, or refuse it."""
        while True:
            now = asyncio.get_running_loop().time()
            lease = self._leases.get(principal)
            if lease is not None and lease.tokens >= 1 and lease.at >= now:
                lease.tokens -= 1
                return
            given = None if now < self._away_until else await self._given(principal)
            if given is None:
                await self._alone.take(principal)
                return
            if given == 0:
                raise TooManyRequests(rate=str(self.rate), seconds="1")

    async def _given(self, principal: UUID) -> int | None:
        """Return how many tokens were given to all who wait for some here: they are asked for once."""
        asking = self._asking.get(principal)
        if asking is None:
            asking = self._asking[principal] = asyncio.create_task(self._ask(principal))
            asking.add_done_callback(lambda _: self._asking.pop(principal, None))
        return await asyncio.shield(asking)  # whoever goes away takes nothing from the others

    async def _ask(self, principal: UUID) -> int | None:
        """Ask for a lease, and return how much was given; None if nobody answers."""
        loop = asyncio.get_running_loop()
        wanted = max(1, self.rate // SHARES_OF_A_SECOND)
        try:
            given = int(str(await self._take(keys=[f"clearhouse:limit:{principal}"], args=[self.rate, self.burst, wanted])))
        except (RedisError, OSError) as error:
            _log.warning("redis is away: limiting alone", reason=str(error))
            self._away_until = loop.time() + AWAY_SECONDS
            return None
        if len(self._leases) >= PRINCIPALS_MAX:
            self._leases.clear()
        self._leases[principal] = Bucket(given, loop.time() + LEASE_SECONDS)
        return given

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def limiter(rate: int, url: str | None = None) -> Limiter:
    """Return the limiter that the settings ask for."""
    return OwnLimiter(rate) if url is None else SharedLimiter(rate, url)
