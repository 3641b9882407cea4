"""The suite in two halves, which together are all of it: `-p tests.halves --of "PATHS" --but "PATHS" --half 1` (or 2).

The first is what lies in the paths of `--of`, but for what lies in those of `--but`, for tests that run once more on
another server, and for properties, which are tried on many examples each. CI measures the coverage of the first: the
others would add next to nothing to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import is_hypothesis_test

from tests import servers

OTHER_KINDS = frozenset(get_args(servers.Kind)) - {"valkey"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--half", type=int, choices=(1, 2), required=True)
    parser.addoption("--of", type=str.split, required=True, help="paths from the project's root")
    parser.addoption("--but", type=str.split, default=[], help="paths too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    of, but = ([config.rootpath / path for path in paths] for paths in (config.option.of, config.option.but))
    assert all(path.exists() for path in of + but), of + but
    halves: dict[int, list[pytest.Item]] = {1: [], 2: []}
    for item in items:
        halves[1 if _in_any(item, of) and not _in_any(item, but) and not _once_more(item) else 2].append(item)
    other = halves[3 - config.option.half]
    if other:
        config.hook.pytest_deselected(items=other)
        items[:] = halves[config.option.half]


def _in_any(item: pytest.Item, paths: list[Path]) -> bool:
    return any(item.path.is_relative_to(path) for path in paths)


def _once_more(item: Any) -> bool:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    other = OTHER_KINDS.intersection(value for value in params.values() if isinstance(value, str))
    return bool(other) or is_hypothesis_test(getattr(item, "obj", None))
