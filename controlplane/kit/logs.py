"""structlog for our own lines and for the libraries'; JSON in production, colours in a terminal."""

import logging
import sys

import structlog
from structlog.typing import Processor

from controlplane.kit.repeated import Repeated
from controlplane.kit.tokens import redact


def configure_logging(style: str, level: str) -> None:
    """Everything goes to stderr: stdout belongs to the CLI's answers."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if style == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # the default prints local variables: secrets
            )
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, _without_secrets],
        )
    )
    handler.addFilter(Repeated(handler.emit))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "uvicorn.access", "nats", "alembic", "sqlalchemy", "httpx", "httpcore"):
        logger = logging.getLogger(noisy)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))


def _without_secrets(_logger: object, _method: str, line: object) -> str:
    """The last step: whatever got into a line, our own secrets do not get out of it."""
    return redact(str(line))
