"""`clearhouse bench …`."""

from typing import Annotated

import uvloop
from cyclopts import App, Parameter

from clearhouse.app import logs
from clearhouse.app.bench import interbank as bench_interbank
from clearhouse.app.bench import kernel as bench_kernel
from clearhouse.app.bench import ledger as bench_ledger
from clearhouse.app.bench import printing
from clearhouse.app.bench import records as bench_records
from clearhouse.app.bench.houses import How, Prepared, measured
from clearhouse.app.verbs import tell

app = App(name="bench", help="Measure, as ratios to references in the same run.")
Shared = Annotated[How, Parameter(name="*")]
DEFAULT = How()


@app.command
def ledger(
    *,
    how: Shared = DEFAULT,
    tigerbeetle: Annotated[str | None, Parameter(help="HOST:PORT of a TigerBeetle server, for the same batches.")] = None,
    behind: Annotated[int, Parameter(help="Post so many transfers before measuring, beyond the seconds.")] = 0,
) -> None:
    """Measure posting and reading against pgbench, COPY and, if there is one, TigerBeetle."""
    _show("ledger", bench_ledger.prepared(tigerbeetle, behind), how)


@app.command
def kernel(
    *,
    how: Shared = DEFAULT,
    items: Annotated[int, Parameter(help="How many items are on each side that is reconciled.")] = 100_000,
) -> None:
    """Measure stages, wake-ups, reconciliation, events to NATS and Kafka, and webhooks, each beside the bare work."""
    _show("kernel", bench_kernel.prepared(bench_kernel.Sizes(items=items)), how)


@app.command
def records(*, how: Shared = DEFAULT) -> None:
    """Measure counting records against COPY of the same records, and settling under writers."""
    _show("records", bench_records.prepared(), how)


@app.command
def interbank(
    *,
    how: Shared = DEFAULT,
    obligations: Annotated[int, Parameter(help="How many are in a netting cycle that is closed.")] = 20_000,
) -> None:
    """Measure settlements end to end with the simulated bank, counted in both books, and the closing of netting cycles."""
    _show("interbank", bench_interbank.prepared(bench_interbank.Sizes(obligations=obligations)), how)


def _show(name: str, prepared: Prepared, how: How) -> None:
    logs.configure("warning")  # to the error output: what is printed is the report
    printing.show(uvloop.run(measured(name, prepared, how, tell)), as_json=how.json)
