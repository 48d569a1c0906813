"""What goes wrong below us, in words of ours: nobody outside `kernel.db` sees a driver's exception.

DatabaseFault
├── Stale         what was decided on is no longer so: look again and decide again
├── Duplicate     a key or an id is there already: look it up and answer with it
├── Passing       deadlock, serialization failure, lock time-out: the same again will do
├── Lost          the connection went away; at COMMIT nobody knows yet whether it happened
│   └── Away          there was none to be had, for as long as one waits: nothing was begun
└── Poison        the statement itself is refused: running it again changes nothing
    └── Unwritable    a text has a NUL in it, which PostgreSQL cannot hold
"""

import psycopg

from clearhouse.refusals import Kind, Refusal

STALE = "CH001"


class DatabaseFault(Exception):
    """A statement or a commit did not succeed."""

    def __init__(self, message: str, *, state: str = "", constraint: str = "") -> None:
        super().__init__(message)
        self.state = state
        self.constraint = constraint


class Stale(DatabaseFault):
    """A row changed since it was read."""


class Duplicate(DatabaseFault):
    """A unique key is taken."""


class Passing(DatabaseFault):
    """A collision with somebody else."""


class Lost(DatabaseFault):
    """The connection is gone."""


class Away(Lost):
    """Nobody could be asked."""


class Poison(DatabaseFault):
    """The statement cannot succeed as it is."""


class Unwritable(Poison):
    """A text that the database cannot hold."""


class DatabaseAway(Refusal):
    """The database cannot be reached just now; ask again in a moment."""

    code = "database_away"
    kind = Kind.UNAVAILABLE
    retryable = True


_PASSING = frozenset({"40001", "40P01", "55P03", "57014", "53300", "53400"})
_LOST_CLASSES = frozenset({"08", "57"})
_ENDED = frozenset({"25P03", "25P04"})  # it took too long, and PostgreSQL has ended the session


def translated(error: psycopg.Error) -> DatabaseFault:
    """Return the fault that a driver's exception stands for."""
    state = error.sqlstate or ""
    kind: type[DatabaseFault] = Poison
    if state == STALE:
        kind = Stale
    elif state == "23505":
        kind = Duplicate
    elif state in _PASSING:
        kind = Passing
    elif isinstance(error, psycopg.DataError) and not state:
        kind = Unwritable  # the driver itself refuses to send it
    elif state in _ENDED or state[:2] in _LOST_CLASSES or (not state and isinstance(error, psycopg.OperationalError)):
        kind = Lost
    return kind(str(error), state=state, constraint=error.diag.constraint_name or "")
