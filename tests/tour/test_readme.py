"""The README, executed as it stands."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import errors
from aiotq.store import embedded
from tests import processes

if TYPE_CHECKING:
    from aiotq import App
    from tests.servers import Server

README = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CHILD_ENV = {
    key: value for key, value in os.environ.items() if not key.startswith(("AIOTQ_", "REDIS_")) and key != "PYTHONPATH"
} | {"PYTHONPATH": str(processes.ROOT)}


async def run(*command: str, folder: Path) -> tuple[str, str]:
    """A program of the reader's, to its end: what it printed, and what it said on stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=folder, env=CHILD_ENV,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=processes.die_with_parent,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, err.decode()
    return out.decode(), err.decode()


async def test_the_minute_one_example_runs_as_it_stands(server_folder: Path) -> None:
    (server_folder / "hello.py").write_text(PYTHON[0], "utf-8")
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aiotq", "hello:app", cwd=server_folder, env=CHILD_ENV, stderr=asyncio.subprocess.PIPE,
        preexec_fn=processes.die_with_parent,
    )  # fmt: skip
    assert worker.stderr is not None
    try:
        banner = (await asyncio.wait_for(worker.stderr.readuntil(b"ready in"), 30)).decode()
        assert "greet(name: str) -> str" in banner
        assert "built-in" in banner

        printed, _ = await run("hello.py", folder=server_folder)
        assert printed == "Hello, Ada!\n"
    finally:
        worker.send_signal(signal.SIGINT)
        said = (await asyncio.wait_for(worker.stderr.read(), 30)).decode()
        assert await worker.wait() == 0, said
        embedded.stop(server_folder / ".aiotq")
    assert "bye. 1 succeeded, 0 failed" in said


async def test_what_you_write_works(valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App) -> None:
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    code: dict[str, Any] = {"__name__": "readme"}
    exec(compile(PYTHON[1].replace("App()", f"App(namespace={namespace!r})"), "README.md", "exec"), code)
    theirs: App = code["app"]
    async with theirs, theirs.worker():
        await code["sell"]()

        assert (
            await (await code["send_mail"].delay("eve@example.org", "hello")).result(timeout=10)
            == "hello to eve@example.org"
        )
        rejected = await code["send_mail"].delay("nobody", "hello")
        with pytest.raises(errors.JobFailed, match="not an address"):
            await rejected.result(timeout=10)
        later = await code["send_mail"].options(countdown=60).delay("bob@example.org", "hurry")
        assert await later.cancel()


async def test_the_lifespan_example_gives_each_job_its_pool(
    valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch, app: App
) -> None:
    monkeypatch.setenv("AIOTQ_URL", valkey.url)
    code: dict[str, Any] = {"__name__": "readme"}
    exec(compile(PYTHON[2].replace("App(", f"App(namespace={namespace!r}, "), "README.md", "exec"), code)
    theirs: App = code["app"]
    async with theirs, theirs.worker():
        assert await (await code["query"].delay()).result(timeout=10) == "yes"
