"""The page on operation, executed as it stands."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from aiotq import App
from tests.worker.kit import until

if TYPE_CHECKING:
    from tests.servers import Server

PAGE = Path(__file__).parents[2].joinpath("docs", "operations.md").read_text("utf-8")
(SERVICE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def events_said() -> set[str]:
    """The events that the package names as it says them, but for those of each job."""
    found: set[str] = set()
    for file in Path(__file__).parents[2].joinpath("aiotq").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            named: list[ast.expr | None] = []
            if isinstance(node, ast.Dict):
                of_a_key = dict(zip((ast.unparse(key) if key else "" for key in node.keys), node.values, strict=True))
                named = [of_a_key.get("'event'")]
            elif isinstance(node, ast.Call):
                place = {"say": 1, "say_of": 2}.get(ast.unparse(node.func))
                named = [] if place is None else [node.args[place]]
                named += [keyword.value for keyword in node.keywords if keyword.arg == "event"]
            found |= {str(one.value) for one in named if isinstance(one, ast.Constant)}
    return found


def test_the_page_names_each_event():
    said = events_said()
    assert {"lease_lost", "orphaned", "gave_up", "tls_unverified"} <= said
    assert {event for event in said if f"`{event}`" not in PAGE} == set()


async def test_a_service_has_its_workers_health_on_its_own_page(
    valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App
) -> None:
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    service = ModuleType("service")
    exec(compile(SERVICE.replace("App()", f"App(namespace={namespace!r})"), "operations.md", "exec"), vars(service))
    async with service.lifespan(object()):
        await until(lambda: service.readyz() == (200, "ok"))
    assert service.readyz() == (503, "ended")
