"""Sealing: secrets that the house has to know in plain, in a table all the same, under keys that are not in the database.

A sealed text is `sealed.<id of the key>.<nonce and AES-256-GCM, as base64>`, bound to its place: what is moved to another
row does not open there. Of several keys the first one seals and all of them open, so a key can be replaced without a pause.

Promise: no key is ever in the database, in a backup of it, in a log or in a refusal; what cannot be opened is told from what
was never sealed, by name of the key that is missing.
"""

import base64
import binascii
import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clearhouse.kernel.db.home import write_private
from clearhouse.refusals import Kind, Refusal

KEYS_FILE = "secrets.keys"
SETTING = "SECRETS_KEYS"
KEY_BYTES = 32
NONCE_BYTES = 12
ID_LENGTH = 12
_FORM = re.compile(rf"sealed\.([0-9a-f]{{{ID_LENGTH}}})\.([A-Za-z0-9+/]+=*)")


class KeysUnusable(Refusal):
    """The keys for secrets in {place} must each be 32 bytes as base64, one a line; `openssl rand -base64 32` makes one."""

    code = "secrets_keys_unusable"
    kind = Kind.MALFORMED


class NoKeys(Refusal):
    """This process was given no keys for secrets, so it can neither keep nor read one."""

    code = "no_secrets_keys"
    kind = Kind.UNAVAILABLE


class KeyMissing(Refusal):
    """The secret is sealed under key {key}, which is not here: add it to SECRETS_KEYS or secrets.keys, or make a new one."""

    code = "secrets_key_missing"
    kind = Kind.UNAVAILABLE


class SealBroken(Refusal):
    """The secret is not what was sealed here: it was altered, moved from another row, or never sealed; replace it."""

    code = "seal_broken"
    kind = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and the name that is written beside what it seals; the name says nothing about the key."""

    id: str
    cipher: AESGCM = field(repr=False)

    @classmethod
    def of(cls, given: bytes) -> "Key":
        """Return the key that some bytes are."""
        return cls(hashlib.sha256(b"clearhouse secrets key" + given).hexdigest()[:ID_LENGTH], AESGCM(given))


@dataclass(slots=True)
class Sealing:
    """The keys of a process, the one that seals first."""

    keys: tuple[Key, ...] = ()

    def use(self, keys: Sequence[Key]) -> None:
        """Seal with the first of these keys and open with all: the composition root says so before anybody asks."""
        self.keys = tuple(keys)

    @property
    def first(self) -> Key:
        """The key that seals."""
        if not self.keys:
            raise NoKeys
        return self.keys[0]

    @property
    def current(self) -> str:
        """How everything begins that is sealed under the first key."""
        return f"sealed.{self.first.id}."

    def seal(self, text: str, *place: object) -> str:
        """Seal a text for a place: the names of a table and of a row in it, which never change."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self.first.cipher.encrypt(nonce, text.encode(), _bound(place))
        return self.current + base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, *place: object) -> str:
        """Return the text that was sealed for this very place, or refuse."""
        if not self.keys:
            raise NoKeys
        found = _FORM.fullmatch(sealed)
        if found is None:
            raise SealBroken
        key = next((each for each in self.keys if each.id == found[1]), None)
        if key is None:
            raise KeyMissing(key=found[1])
        with suppress(InvalidTag, ValueError):  # binascii's is a ValueError
            given = base64.b64decode(found[2], validate=True)
            return key.cipher.decrypt(given[:NONCE_BYTES], given[NONCE_BYTES:], _bound(place)).decode()
        raise SealBroken

    def again(self, text: str, *place: object) -> str:
        """Seal under the first key what an older one sealed, or what is plain as it was before secrets were sealed."""
        return self.seal(self.open(text, *place) if text.startswith("sealed.") else text, *place)


class Resealed(NamedTuple):
    """How many secrets were sealed anew, and under which keys the others are that could not be opened."""

    number: int
    missing: frozenset[str]


def read_keys(text: str, place: str) -> list[Key]:
    """Read keys, parted by blanks, commas or lines; what follows # is a remark. They are told apart, and never shown."""
    words = re.split(r"[\s,]+", re.sub(r"#.*", "", text))
    found = [_key(word, place) for word in words if word]
    if not found:
        raise KeysUnusable(place=place)
    return found


def kept_keys(folder: Path) -> list[Key]:
    """Read the keys of a data folder; one is made, for us alone to read, if there is none. Of several who do so one wins."""
    path = folder / KEYS_FILE
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = folder / f"{KEYS_FILE}.{os.getpid()}"
        write_private(made, base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
        with suppress(FileExistsError):
            path.hardlink_to(made)
        made.unlink()
    return read_keys(path.read_text(encoding="utf-8"), str(path))


def _key(word: str, place: str) -> Key:
    try:
        given = base64.b64decode(word.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeysUnusable(place=place) from error
    if len(given) != KEY_BYTES:
        raise KeysUnusable(place=place)
    return Key.of(given)


def _bound(place: tuple[object, ...]) -> bytes:
    return b"".join(len(each).to_bytes(4, "big") + each for each in (str(part).encode() for part in place))


SEALING = Sealing()
