"""Logs: lines of JSON for machines, or readable ones on a terminal; never a secret."""

import logging
import sys

import structlog

AGAIN_SECONDS = 60.0
SECRETS = ("authorization", "password", "secret", "token", "credential", "api_key")


def configure(level: str) -> None:
    """Set the logs up for this process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _hide,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping().get(level.upper(), logging.INFO)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    # What of its work failed we say ourselves, and do again; it adds a page of code whenever the database is away.
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg.pool").addFilter(_NowAndThen())  # while the database is away it is tried every second


class _NowAndThen(logging.Filter):
    """Lets each message through once in a while, however often it comes and whatever is filled in."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        due = record.created - self._said.get(str(record.msg), 0.0) >= AGAIN_SECONDS
        if due:
            self._said[str(record.msg)] = record.created
        return due


def _hide(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Blank what is named like a secret."""
    return {name: "…" if any(word in name.lower() for word in SECRETS) else value for name, value in event.items()}
