"""Roles and the scopes they carry. An administrator decides who may move money and can move none."""

from collections.abc import Iterable, Mapping
from typing import Literal

# A party is of another organisation: products say what it may do about that which its organisation is a party to.
Role = Literal["viewer", "operator", "approver", "auditor", "party", "admin"]
Scope = str

_READING = frozenset({"ledger:read", "calendars:read", "approvals:read", "reconciliation:read"})

SCOPES: dict[Role, frozenset[Scope]] = {
    "viewer": _READING,
    "operator": _READING
    | {
        "ledger:post",
        "ledger:accounts",
        "ledger:close",
        "ledger:import",
        "calendars:write",
        "jobs:read",
        "jobs:write",
        "approvals:withdraw",
        "inbox:read",
        "inbox:decide",
        "reconciliation:write",
    },
    "approver": _READING | {"approvals:decide"},
    "auditor": _READING | {"ledger:verify", "audit:read", "access:read", "metrics:read", "jobs:read", "inbox:read"},
    "party": frozenset(),
    "admin": frozenset(
        {
            "access:read",
            "access:write",
            "audit:read",
            "metrics:read",
            "approvals:read",
            "approvals:policies",
            "approvals:withdraw",
        }
    ),
}


def extend(scopes: Mapping[Role, Iterable[Scope]]) -> None:
    """Give roles the scopes of a product: the composition root says which products there are, before anybody asks."""
    for role, more in scopes.items():
        SCOPES[role] |= frozenset(more)


def scopes_of(roles: Iterable[Role]) -> frozenset[Scope]:
    """Return everything that these roles together may do."""
    return frozenset[Scope]().union(*(SCOPES[role] for role in roles))
