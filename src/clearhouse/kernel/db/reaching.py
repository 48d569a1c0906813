"""Reaching the database: what stands in every address of ours, so that nobody waits for ever for a machine that is gone.

Promise: what the operator wrote into DATABASE_URL stands, in parameters as in `options`; only what we cannot do without
(role, schema, time zone, plans) is ours. An end that is gone is noticed by the other, and holds no lock for longer than a
minute.
"""

import asyncio
from collections.abc import Mapping

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

CONNECT_SECONDS_MAX = 5
IDLE_MILLISECONDS_MAX = 60_000  # in a transaction of which nothing is heard any more
TRAITS = {  # of a connection that is not a socket of this machine: who does not answer for so long is gone
    "connect_timeout": CONNECT_SECONDS_MAX,
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 20_000,
}
SETTINGS = {  # of a session, there: the same the other way round
    "idle_in_transaction_session_timeout": IDLE_MILLISECONDS_MAX,
    "tcp_keepalives_idle": 60,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
}


def address(
    dsn: str, *, name: str, needed: Mapping[str, object] | None = None, wanted: Mapping[str, object] | None = None
) -> str:
    """Return an address with what is needed, and with what is wanted where the operator has not said otherwise."""
    given = conninfo_to_dict(dsn)
    traits = {} if "service" in given else {each: value for each, value in TRAITS.items() if each not in given}
    words = [*_options(SETTINGS | dict(wanted or {})), str(given.get("options") or ""), *_options(needed or {})]
    return make_conninfo(dsn, options=" ".join(each for each in words if each), application_name=name, **traits)


async def answers(where: str, seconds: float) -> bool:
    """Tell whether somebody can be asked there, within so long."""
    try:
        async with asyncio.timeout(seconds):
            connection = await psycopg.AsyncConnection.connect(where, autocommit=True)
            await connection.close()
    except (psycopg.Error, OSError, TimeoutError):
        return False
    return True


def _options(settings: Mapping[str, object]) -> list[str]:
    return [f"-c {name}={value}" for name, value in settings.items()]
