"""The keys for secrets at the start: from SECRETS_KEYS, or from the file of the data folder that the first start makes.

Promise: whatever a product keeps sealed is sealed under the first key when the house opens, so that older keys can go; a key
that is missing is named, and keeps nothing else from starting.
"""

import asyncio
from collections.abc import Callable

from clearhouse.app.config import Config
from clearhouse.app.products import SEALS
from clearhouse.kernel.access.sealing import KEYS_FILE, SEALING, SETTING, Key, kept_keys, read_keys
from clearhouse.kernel.db.database import Database


async def open_seals(config: Config, database: Database, tell: Callable[[str], object]) -> None:
    """Use the keys of this house, and seal under the first one what is sealed under another or not at all."""
    try:
        SEALING.use(await asyncio.to_thread(_keys, config))
    except OSError as error:
        SEALING.use([])
        tell(f"no secret can be kept or used: set {SETTING}, since {_place(config)} cannot be ({error.strerror})")
        return
    missing = set[str]()
    for seal_again in SEALS:
        async with database.writing() as tx:
            done = await seal_again(tx)
        missing |= done.missing
        if done.number:
            tell(f"secrets sealed under key {SEALING.first.id} now: {done.number}")
    for key in sorted(missing):
        tell(f"there are secrets under key {key}, which is not in {_place(config)}: add it there, or replace those secrets")


def where_keys_are(config: Config) -> str:
    """Say where the keys are that a backup does not hold."""
    return f"the keys for secrets are not in it: keep those of {_place(config)} elsewhere, or what they sealed stays closed"


def _keys(config: Config) -> list[Key]:
    return kept_keys(config.data) if config.secrets_keys is None else read_keys(config.secrets_keys, SETTING)


def _place(config: Config) -> str:
    return str(config.data / KEYS_FILE) if config.secrets_keys is None else SETTING
