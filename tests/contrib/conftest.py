"""Fixtures of the tests of what ties aiotq to other libraries."""

from __future__ import annotations

from tests.worker.conftest import events, keys

__all__ = ["events", "keys"]
