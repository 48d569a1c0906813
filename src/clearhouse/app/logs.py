"""Logs: lines of JSON for machines, or readable ones on a terminal; never a secret."""

import logging
import sys

import structlog

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


def _hide(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Blank what is named like a secret."""
    return {name: "…" if any(word in name.lower() for word in SECRETS) else value for name, value in event.items()}
