"""What of interbank is behind `/health`: the engine that sends, and the banks that answer."""

from clearhouse.kernel.db.statements import Statements
from clearhouse.transport.http.health import oldest

ENGINE_LATE_SECONDS, BANK_LATE_SECONDS = 60.0, 300.0
_sql = Statements.of("clearhouse.slices.interbank", "health.sql")
CHECKS = (
    oldest("engine", _sql["unsent"], late=ENGINE_LATE_SECONDS),
    oldest("bank", _sql["unanswered"], late=BANK_LATE_SECONDS),
)
