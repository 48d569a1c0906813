"""The figures of interbank for Prometheus: seven metrics in the names of the document, read from the rows when asked for.

Promise: every process tells the same, since none of them counts by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements

_sql = Statements.of("clearhouse.slices.interbank", "figures.sql")
_BOUNDS = (("0.1", "tenth"), ("1", "one"), ("5", "five"), ("30", "thirty"), ("300", "minutes"))
_Row = dict[str, Any]


async def figures(tx: Tx) -> str:
    """Return the metrics of a book as Prometheus reads them."""
    found = {name: await tx.rows(_sql[name], _row, book=tx.book) for name in _sql.texts}
    registry = CollectorRegistry()
    registry.register(_Read(found))
    return generate_latest(registry).decode()


def _row(**columns: Any) -> _Row:
    return columns


class _Read(Collector):
    """Metrics that were read, once."""

    def __init__(self, found: Mapping[str, Sequence[_Row]]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Give every metric."""
        settlements = self._found["settlement_figures"]
        yield _counted("settlement", "Settlements by status.", "status", _sums(settlements, "state", "count"))
        amounts = [row | {"units": int(row["amount"]) / 10 ** int(row["exponent"])} for row in settlements]
        done = [row for row in amounts if row["state"] == "COMPLETED"]
        yield _counted("settlement_amount", "What was settled, by currency.", "currency", _sums(done, "currency", "units"))
        yield _durations([row for row in settlements if row["state"] == "COMPLETED"])
        operations = _sums(self._found["operation_figures"], "state", "count")
        yield _counted("atomic_operations", "Atomic operations by state.", "state", operations)
        odd = CounterMetricFamily("reconciliation_discrepancies", "Lines found on one side only.")
        odd.add_metric([], self._found["discrepancy_figures"][0]["count"])
        yield odd
        for side in ("nostro", "vostro"):
            yield _balances(side, [row for row in self._found["account_figures"] if row["side"] == side])


def _sums(rows: Sequence[_Row], label: str, value: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        found[row[label]] = found.get(row[label], 0) + row[value]
    return found


def _counted(name: str, sentence: str, label: str, sums: dict[str, float]) -> CounterMetricFamily:
    made = CounterMetricFamily(name, sentence, labels=[label])
    for key, value in sums.items():
        made.add_metric([key], value)
    return made


def _durations(done: Sequence[_Row]) -> HistogramMetricFamily:
    made = HistogramMetricFamily("settlement_duration_seconds", "From acceptance to COMPLETED.")
    buckets = [(bound, float(sum(int(row[name]) for row in done))) for bound, name in _BOUNDS]
    whole = float(sum(int(row["count"]) for row in done))
    made.add_metric([], [*buckets, ("+Inf", whole)], sum(float(row["seconds"]) for row in done))
    return made


def _balances(side: str, rows: Sequence[_Row]) -> GaugeMetricFamily:
    made = GaugeMetricFamily(f"{side}_balance", f"What is on {side}s.", labels=["bank", "currency"])
    for row in rows:
        made.add_metric([row["bank"], row["currency"]], int(row["balance"]) / 10 ** int(row["exponent"]))
    return made
