"""The products of this house: what each brings to the doors, to the workers and to the roles."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from litestar import Router

from clearhouse.kernel.access import roles
from clearhouse.kernel.access.roles import Role, Scope
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.inbox.messages import Subscription
from clearhouse.slices.operations import (
    access_http,
    approvals_http,
    audit_http,
    calendars_http,
    events_http,
    inbox_http,
    jobs_http,
    ledger_http,
    reconciliation_http,
)


@dataclass(frozen=True, slots=True)
class Product:
    """A slice, as it is put into the house: routes, what happens by itself, roles, and what it listens to."""

    routers: tuple[Router, ...]
    works: tuple[Callable[[Database], Awaitable[None]], ...] = ()
    scopes: Mapping[Role, Iterable[Scope]] = field(default_factory=dict[Role, Iterable[Scope]])
    subscriptions: tuple[Subscription, ...] = ()


OPERATIONS = Product(
    routers=(
        ledger_http.router,
        audit_http.router,
        access_http.router,
        calendars_http.router,
        jobs_http.router,
        approvals_http.router,
        events_http.router,
        inbox_http.router,
        reconciliation_http.router,
    )
)
PRODUCTS = (OPERATIONS,)
ROUTERS = tuple(router for product in PRODUCTS for router in product.routers)
SUBSCRIPTIONS = tuple(each for product in PRODUCTS for each in product.subscriptions)
WORKS = tuple(work for product in PRODUCTS for work in product.works)
for product in PRODUCTS:
    roles.extend(product.scopes)
