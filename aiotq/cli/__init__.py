"""The command line: the worker on a terminal."""

from __future__ import annotations
