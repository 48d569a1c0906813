"""The products of this house: what each brings to the doors, to the workers and to the roles."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from litestar import Router

from clearhouse.kernel.access import roles
from clearhouse.kernel.access.roles import Role, Scope
from clearhouse.kernel.db.database import Database
from clearhouse.slices.interbank import accounts_http as interbank_accounts
from clearhouse.slices.interbank import commands as interbank
from clearhouse.slices.interbank import engines, settlements_http
from clearhouse.slices.interbank import rpc as interbank_rpc
from clearhouse.slices.operations import (
    access_http,
    approvals_http,
    audit_http,
    calendars_http,
    events_http,
    jobs_http,
    ledger_http,
)
from clearhouse.transport.rpc.serving import Service


@dataclass(frozen=True, slots=True)
class Product:
    """A slice, as it is put into the house: routes, gRPC, what happens by itself, and which role may do what."""

    routers: tuple[Router, ...]
    services: tuple[Service, ...] = ()
    works: tuple[Callable[[Database], Awaitable[None]], ...] = ()
    scopes: Mapping[Role, Iterable[Scope]] = field(default_factory=dict[Role, Iterable[Scope]])


OPERATIONS = Product(
    routers=(
        ledger_http.router,
        audit_http.router,
        access_http.router,
        calendars_http.router,
        jobs_http.router,
        approvals_http.router,
        events_http.router,
    )
)
INTERBANK = Product(
    routers=(settlements_http.router, *interbank_accounts.ROUTERS),
    services=(interbank_rpc.add,),
    works=(engines.run,),
    scopes=interbank.SCOPES,
)
PRODUCTS = (OPERATIONS, INTERBANK)
ROUTERS = tuple(router for product in PRODUCTS for router in product.routers)
SERVICES = tuple(service for product in PRODUCTS for service in product.services)
WORKS = tuple(work for product in PRODUCTS for work in product.works)
for product in PRODUCTS:
    roles.extend(product.scopes)
