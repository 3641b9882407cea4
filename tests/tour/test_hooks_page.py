"""The page on middlewares and observers, executed as it stands."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aiotq import App
from aiotq.errors import JobFailed

PAGE = Path(__file__).parents[2].joinpath("docs", "hooks.md").read_text("utf-8")
_APP, MIDDLEWARES, OBSERVER, _SENTRY = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_a_tenant_goes_along_runs_are_timed_and_failures_said(app: App, caplog: pytest.LogCaptureFixture) -> None:
    page: Any = ModuleType("page")
    exec(compile(MIDDLEWARES + OBSERVER, "hooks.md", "exec"), vars(page))
    app.add_middleware(page.Tenants())
    app.add_middleware(page.Timing())
    app.add_observer(page.Watch())

    @app.task(name="bill", retries=0)
    async def bill(fail: int) -> str:
        if fail:
            raise ValueError("no money")
        return page.tenant.get()

    with pytest.raises(PermissionError, match="no tenant"):
        await bill.delay(0)
    page.tenant.set("7")
    with caplog.at_level(logging.INFO, "shop"):
        async with app.worker():
            assert await (await bill.delay(0)).result(timeout=10) == "7"
            with pytest.raises(JobFailed):
                await (await bill.delay(1)).result(timeout=10)
    said = [record.getMessage() for record in caplog.records if record.name == "shop"]
    assert [line for line in said if "took" in line and line.startswith("bill ")]
    assert said[-1].endswith("gave up: no money")
