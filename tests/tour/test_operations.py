"""The page on operation, executed as it stands."""

from __future__ import annotations

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


async def test_a_service_has_its_workers_health_on_its_own_page(
    valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App
) -> None:
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    service = ModuleType("service")
    exec(compile(SERVICE.replace("App()", f"App(namespace={namespace!r})"), "operations.md", "exec"), vars(service))
    async with service.lifespan(object()):
        await until(lambda: service.readyz() == (200, "ok"))
    assert service.readyz() == (503, "ended")
