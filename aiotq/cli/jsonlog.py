"""Log lines for machines: one JSON object a line."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

from aiotq.cli.event import extras
from aiotq.cli.text import without_passwords
from aiotq.job import ErrorInfo

_RENAMED = {"logger", "level", "ts", "message"}  # ours: an extra of that name is kept as "extra_..."


class JsonFormatter(logging.Formatter):
    """ts (UTC), level, event, logger, message, then the extras; an error as its type, message and frames."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        given = extras(record)
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": given.pop("event", None),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if line["event"] is None:
            del line["event"]
        error = given.pop("error", None)
        line |= {f"extra_{name}" if name in _RENAMED else name: value for name, value in given.items()}
        if error is not None:
            line["error"] = _error(error)
        if record.exc_info and record.exc_info[0]:
            line["traceback"] = self.formatException(record.exc_info)
        return without_passwords(_encode(line))


def _error(error: object) -> object:
    return error if isinstance(error, ErrorInfo) else str(error)


def _encode(line: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(line, enc_hook=repr).decode()
    except (TypeError, ValueError, RecursionError, UnicodeError):
        # Something in an extra that can't be JSON at all, a lone surrogate or a key that is no text: as text, then.
        plain = {key: _harmless(value) for key, value in line.items()}
        return msgspec.json.encode(plain).decode()


def _harmless(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text.encode("utf-8", "backslashreplace").decode()
