"""The app of burn.py and its ledger, for tests of tasks with process=True."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from aiotq.errors import JobFailed
from tests.conftest import _check_keys, _raw_client
from tests.process import burn
from tests.process.ledger import Ledger, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiotq import App, Job
    from tests.servers import Server

WITHIN_S = 30


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ledger:
    """What the tasks write of their attempts, in whatever process."""
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    return Ledger(path=tmp_path / "ledger")


@pytest_asyncio.fixture
async def app(
    request: pytest.FixtureRequest, valkey: Server, namespace: str, prefix: str, ledger: Ledger
) -> AsyncIterator[App]:
    """The app of burn.py where a command line would have it."""
    core = burn.app._core
    core.override, core._source, settings = valkey.url, None, core.settings
    core.settings = replace(settings, namespace=namespace)
    async with burn.app:
        yield burn.app
    core.override, core._source, core.settings = None, None, settings
    async for client in _raw_client(valkey.url):
        await _check_keys(request, client, prefix)


async def failure(job: Job[Any]) -> JobFailed:
    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=WITHIN_S)
    return failed.value


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(*pids: int) -> None:
    async def all_gone() -> bool:
        return not any(runs(pid) for pid in pids)

    await until(all_gone, f"the end of {pids}")
