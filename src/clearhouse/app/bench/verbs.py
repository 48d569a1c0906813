"""`clearhouse bench …`."""

import uvloop
from cyclopts import App

from clearhouse.app.bench import events as bench_events
from clearhouse.app.bench import interbank as bench_interbank
from clearhouse.app.bench import kernel as bench_kernel
from clearhouse.app.bench import ledger as bench_ledger
from clearhouse.app.bench import printing
from clearhouse.app.bench import records as bench_records
from clearhouse.app.verbs import tell

app = App(name="bench", help="Measure, as ratios to references in the same run.")


@app.command
def ledger(*, seconds: int = 90, json: bool = False, tigerbeetle: str | None = None, behind: int = 0) -> None:
    """Measure posting and reading against pgbench, COPY and, if there is one, TigerBeetle.

    Parameters
    ----------
    seconds
        How long the whole run takes, about.
    json
        Print one JSON object instead of a table.
    tigerbeetle
        HOST:PORT of a TigerBeetle server, to send it the same batches.
    behind
        How many transfers to post before measuring; that takes time beyond the seconds.

    """
    found = uvloop.run(bench_ledger.run(seconds, tigerbeetle=tigerbeetle, behind=behind, tell=tell))
    printing.show(found, as_json=json)


@app.command
def kernel(*, seconds: int = 20, json: bool = False) -> None:
    """Measure stages: rows a second, and how soon after a commit the work that it made begins.

    Parameters
    ----------
    seconds
        How long the whole run takes, about.
    json
        Print one JSON object instead of a table.

    """
    printing.show(uvloop.run(bench_kernel.run(seconds, tell=tell)), as_json=json)


@app.command
def events(*, seconds: int = 20, json: bool = False) -> None:
    """Measure events from the journal to NATS and Kafka against publishing alone.

    Parameters
    ----------
    seconds
        How long the whole run takes, about.
    json
        Print one JSON object instead of a table.

    """
    printing.show(uvloop.run(bench_events.run(seconds, tell=tell)), as_json=json)


@app.command
def records(*, seconds: int = 60, json: bool = False) -> None:
    """Measure counting records against COPY of the same records.

    Parameters
    ----------
    seconds
        How long the whole run takes, about.
    json
        Print one JSON object instead of a table.

    """
    printing.show(uvloop.run(bench_records.run(seconds, tell=tell)), as_json=json)


@app.command
def interbank(*, seconds: int = 60, obligations: int = 20_000, json: bool = False) -> None:
    """Measure settlements end to end with the simulated bank, counted in both books, and the closing of netting cycles.

    Parameters
    ----------
    seconds
        How long the settlements take, about; netting takes its time beyond that.
    obligations
        How many are in the netting cycle that is closed while others record.
    json
        Print one JSON object instead of a table.

    """
    printing.show(uvloop.run(bench_interbank.run(seconds, obligations=obligations, tell=tell)), as_json=json)
