"""Log records for an OTLP collector: a line for each request that became a span, for each that failed, and what the
gateway says of itself. A line of a request that is traced names its span, so that a collector shows them together.

OTEL_LOGS_EXPORTER=none leaves them out. All of it happens in the exporter's thread, but for the gateway's own messages,
which are few: they are put into the SDK's queue by whoever says them.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any

OWN = "bough"  # the loggers whose messages go along


class Lines:
    """Answers of the gateway and its own messages, as log records. Imports the SDK: made in the exporter's thread."""

    def __init__(self, resource: Any) -> None:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

        self._provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        self._logger = self._provider.get_logger("bough.gateway")
        self._own = _Own(self._logger)
        logging.getLogger(OWN).addHandler(self._own)

    def answered(self, text: str, attributes: dict[str, Any], answered_ns: int, context: Any) -> None:
        """One request; `context`: with its span, or its caller's, where it is traced."""
        status = int(attributes["http.response.status_code"])
        level = logging.ERROR if status >= 500 else logging.INFO
        self._logger.emit(_record(f"{text} {status}", level, answered_ns, attributes, context))

    def close(self) -> None:
        """Sends what is left."""
        logging.getLogger(OWN).removeHandler(self._own)
        with contextlib.suppress(Exception):  # third-party code at the very end: nothing is left to protect
            self._provider.shutdown()


def lines(resource: Any) -> Lines | None:
    """None where nobody wants them."""
    return None if os.environ.get("OTEL_LOGS_EXPORTER") == "none" else Lines(resource)


class _Own(logging.Handler):
    """Messages of the gateway's loggers. Those of the SDK are not among them, which would go round in a circle."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        attributes = {"code.function.name": f"{record.name}.{record.funcName}"}
        if record.exc_info and record.exc_info[0] is not None:
            attributes |= {
                "exception.type": record.exc_info[0].__qualname__, "exception.message": str(record.exc_info[1])
            }  # fmt: skip
        said = _record(record.getMessage(), record.levelno, int(record.created * 1e9), attributes, None)
        self._logger.emit(said)


def _record(text: str, level: int, at_ns: int, attributes: dict[str, Any], context: Any) -> Any:
    from opentelemetry._logs import LogRecord, SeverityNumber

    severity = {logging.INFO: SeverityNumber.INFO, logging.WARNING: SeverityNumber.WARN}.get(
        level, SeverityNumber.ERROR if level >= logging.ERROR else SeverityNumber.INFO
    )
    return LogRecord(
        timestamp=at_ns, observed_timestamp=at_ns, context=context, severity_number=severity,
        severity_text=logging.getLevelName(level), body=text, attributes=attributes,
    )  # fmt: skip
