"""The products of this house: what each brings to the doors, to the workers and to the roles."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from litestar import Router

from clearhouse.kernel.access import roles
from clearhouse.kernel.access.roles import Role, Scope
from clearhouse.kernel.access.sealing import Resealed
from clearhouse.kernel.approvals import defaults, effects
from clearhouse.kernel.approvals.defaults import Default
from clearhouse.kernel.approvals.effects import Effect
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.inbox.messages import Subscription
from clearhouse.kernel.pipelines import declared, schedules
from clearhouse.kernel.pipelines.declared import Job
from clearhouse.kernel.pipelines.stages import Stage
from clearhouse.kernel.webhooks import signing
from clearhouse.slices.interbank import accounts_http as interbank_accounts
from clearhouse.slices.interbank import commands as interbank
from clearhouse.slices.interbank import engine, reports_http, settlements_http, waking
from clearhouse.slices.interbank import health as interbank_health
from clearhouse.slices.interbank import rpc as interbank_rpc
from clearhouse.slices.interbank.figures import figures as interbank_figures
from clearhouse.slices.interbank.netting import closing as netting_closing
from clearhouse.slices.interbank.netting import commands as netting
from clearhouse.slices.interbank.netting import http as netting_http
from clearhouse.slices.interbank.netting import settling as netting_settling
from clearhouse.slices.operations import (
    access_http,
    approvals_http,
    audit_http,
    calendars_http,
    closing,
    commands,
    events_http,
    feed_http,
    health,
    inbox_http,
    jobs_http,
    ledger_http,
    reconciliation_commands,
    reconciliation_http,
    schedule_commands,
    schedules_http,
    webhook_commands,
    webhooks_http,
)
from clearhouse.slices.records import bookings, merging, snapshots, staging
from clearhouse.slices.records import commands as records_commands
from clearhouse.slices.records import routes as records_routes
from clearhouse.transport.http.application import Figures
from clearhouse.transport.http.health import Check
from clearhouse.transport.rpc.serving import Service
from clearhouse.transport.webhooks.delivering import deliver


@dataclass(frozen=True, slots=True)
class Product:
    """A slice, as it is put into the house: routes, gRPC, what happens by itself, roles, what is told and listened to.

    `events` are those that no command makes, each with the type of its data; `effects` is what approvals do by
    themselves, by the kind of their subject; `policies` say who approves what in a book that has not said so itself.
    `seals` seal under the first key what is sealed under another.
    """

    routers: tuple[Router, ...]
    services: tuple[Service, ...] = ()
    works: tuple[Callable[[Database], Awaitable[None]], ...] = ()
    stages: tuple[Stage, ...] = ()
    jobs: tuple[Job, ...] = ()
    scopes: Mapping[Role, Iterable[Scope]] = field(default_factory=dict[Role, Iterable[Scope]])
    kinds: tuple[Kind[Any, Any], ...] = ()
    events: Mapping[str, Any] = field(default_factory=dict[str, Any])
    subscriptions: tuple[Subscription, ...] = ()
    figures: tuple[Figures, ...] = ()
    effects: Mapping[str, Effect] = field(default_factory=dict[str, Effect])
    seals: tuple[Callable[[Tx], Awaitable[Resealed]], ...] = ()
    policies: tuple[Default, ...] = ()
    checks: tuple[Check, ...] = ()


OPERATIONS = Product(
    routers=(
        ledger_http.router,
        audit_http.router,
        access_http.router,
        calendars_http.router,
        jobs_http.router,
        schedules_http.router,
        approvals_http.router,
        webhooks_http.router,
        feed_http.router,
        events_http.router,
        inbox_http.router,
        reconciliation_http.router,
    ),
    works=(deliver,),
    scopes=webhook_commands.SCOPES,
    kinds=(*commands.ALL, *webhook_commands.ALL, *reconciliation_commands.ALL, *schedule_commands.ALL),
    events={**commands.EVENTS, **reconciliation_commands.EVENTS},
    effects=reconciliation_commands.EFFECTS,
    policies=reconciliation_commands.POLICIES,
    stages=schedules.STAGES,
    jobs=(closing.CLOSE_DAY,),
    seals=(signing.seal_again,),
    checks=health.CHECKS,
)
INTERBANK = Product(
    routers=(settlements_http.router, *interbank_accounts.ROUTERS, reports_http.router),
    services=(interbank_rpc.add,),
    works=(waking.review,),
    stages=engine.STAGES,
    jobs=engine.JOBS,
    scopes=interbank.SCOPES,
    kinds=interbank.ALL,
    events=interbank.EVENTS,
    figures=(interbank_figures,),
    policies=interbank.POLICIES,
    checks=interbank_health.CHECKS,
)
NETTING = Product(
    routers=(netting_http.router,),
    scopes=netting.SCOPES,
    kinds=netting.ALL,
    events=netting.EVENTS,
    stages=netting_settling.STAGES,
    jobs=(netting_closing.TURN_CYCLE,),
)
RECORDS = Product(
    routers=(records_routes.router,),
    works=(bookings.book, merging.merge, snapshots.snap, staging.sweep),
    scopes=records_commands.SCOPES,
    kinds=records_commands.ALL,
    events=records_commands.EVENTS,
)
PRODUCTS = (OPERATIONS, RECORDS, INTERBANK, NETTING)
SERVICES = tuple(service for product in PRODUCTS for service in product.services)
EVENTS = {
    name: told
    for product in PRODUCTS
    for events in (*(kind.events for kind in product.kinds), product.events)
    for name, told in events.items()
}
SEALS = tuple(each for product in PRODUCTS for each in product.seals)
CHECKS = tuple(each for product in PRODUCTS for each in product.checks)
FIGURES = tuple(each for product in PRODUCTS for each in product.figures)
ROUTERS = tuple(router for product in PRODUCTS for router in product.routers)
SUBSCRIPTIONS = tuple(each for product in PRODUCTS for each in product.subscriptions)
WORKS = tuple(work for product in PRODUCTS for work in product.works)
for product in PRODUCTS:
    roles.extend(product.scopes)
    defaults.declare(product.policies)
    declared.declare(product.stages, product.jobs)
    effects.declare(product.effects)
STAGES = tuple(declared.STAGES.values())
