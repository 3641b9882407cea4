"""The suite in two halves, which together are all of it: `-p tests.halves --of "PATHS" --half 1`, and `--half 2`.

The first is what lies in these paths, but for tests that run once more on another server, and for properties, which are
tried on many examples each. CI measures the coverage of the first: the others would add next to nothing to it.
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
    parser.addoption("--of", type=lambda text: text.split(), required=True, help="paths from the project's root")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    paths = [config.rootpath / path for path in config.option.of]
    assert all(path.exists() for path in paths), paths
    other = [item for item in items if _half_of(item, paths) != config.option.half]
    if other:
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if _half_of(item, paths) == config.option.half]


def _half_of(item: Any, paths: list[Path]) -> int:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    more = OTHER_KINDS.intersection(value for value in params.values() if isinstance(value, str))
    more = more or is_hypothesis_test(getattr(item, "obj", None))
    return 1 if not more and any(item.path.is_relative_to(path) for path in paths) else 2
