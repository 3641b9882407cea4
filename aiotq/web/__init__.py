"""The dashboard: pages for people, in any ASGI service or served by `aiotq dashboard`. Needs the extra "web"."""

from __future__ import annotations

try:
    from aiotq.web.dashboard import aiotq_dashboard
except ImportError as error:
    if (error.name or "").partition(".")[0] not in {"jinja2", "markupsafe", "starlette"}:
        raise
    message = f"the dashboard needs {error.name}, which is not installed; run: pip install 'aiotq[web]'"
    raise ImportError(message, name=error.name) from error

__all__ = ["aiotq_dashboard"]
