"""The products of this house: what each brings to the doors, to the workers and to the roles."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from litestar import Router

from clearhouse.kernel.access import roles
from clearhouse.kernel.access.roles import Role, Scope
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.pipelines import declared, schedules
from clearhouse.kernel.pipelines.declared import Job
from clearhouse.kernel.pipelines.stages import Stage
from clearhouse.slices.operations import (
    access_http,
    approvals_http,
    audit_http,
    calendars_http,
    closing,
    jobs_http,
    ledger_http,
    reconciliation_http,
    schedules_http,
)


@dataclass(frozen=True, slots=True)
class Product:
    """A slice, as it is put into the house: routes, what happens by itself, and which role may do what."""

    routers: tuple[Router, ...]
    works: tuple[Callable[[Database], Awaitable[None]], ...] = ()
    stages: tuple[Stage, ...] = ()
    jobs: tuple[Job, ...] = ()
    scopes: Mapping[Role, Iterable[Scope]] = field(default_factory=dict[Role, Iterable[Scope]])


OPERATIONS = Product(
    routers=(
        ledger_http.router,
        audit_http.router,
        access_http.router,
        calendars_http.router,
        jobs_http.router,
        schedules_http.router,
        approvals_http.router,
        reconciliation_http.router,
    ),
    stages=schedules.STAGES,
    jobs=(closing.CLOSE_DAY,),
)
PRODUCTS = (OPERATIONS,)
ROUTERS = tuple(router for product in PRODUCTS for router in product.routers)
WORKS = tuple(work for product in PRODUCTS for work in product.works)
for product in PRODUCTS:
    roles.extend(product.scopes)
    declared.declare(product.stages, product.jobs)
STAGES = tuple(declared.STAGES.values())
