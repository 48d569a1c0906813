"""Tokens: short-lived JWTs for whoever must not hold a key, such as a browser. They carry the principal and nothing else."""

from datetime import datetime, timedelta
from uuid import UUID

import jwt
import msgspec

from clearhouse import ids
from clearhouse.refusals import Kind, Refusal

ALGORITHM = "HS256"
MINUTES_MAX = 60
SECRET_LENGTH_MIN = 32


class Token(msgspec.Struct, frozen=True):
    """A token and when it ends."""

    token: str
    expires_at: datetime


class TokensOff(Refusal):
    """This server gives out no tokens: JWT_SECRET is not set."""

    code = "tokens_off"
    kind = Kind.UNAVAILABLE


class TokenForToken(Refusal):
    """A token is not exchanged for another, or it would never end; show the key itself."""

    code = "token_for_token"
    kind = Kind.DENIED


def issue(principal: UUID, secret: str, at: datetime) -> Token:
    """Return a token for a principal."""
    if not secret:
        raise TokensOff
    expires_at = at + timedelta(minutes=MINUTES_MAX)
    claims = {"sub": ids.text("prn", principal), "exp": int(expires_at.timestamp())}
    return Token(jwt.encode(claims, secret, algorithm=ALGORITHM), expires_at.replace(microsecond=0))


def read(token: str, secret: str) -> UUID | None:
    """Return whose token it is, if it is one of ours and has not ended; a token without an end is none."""
    if not secret:
        return None
    try:
        claims = jwt.decode(token, secret, algorithms=[ALGORITHM], options={"require": ["exp", "sub"]})
        return ids.parse("prn", str(claims["sub"]))
    except (jwt.InvalidTokenError, Refusal):
        return None
