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
} | {"PYTHONPATH": processes.PATH}


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


NIGHT = README.partition("\n## At 3 a.m.\n")[2].partition("\n## ")[0]


async def test_the_commands_at_3_a_m_run_as_they_stand(
    valkey: Server, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: App
) -> None:
    @app.task(name="shop.tasks:send_mail", queue="email", retries=0)
    async def send_mail(to: str) -> None:
        raise ConnectionError("no mail server")

    async with app.worker():
        failed = [await send_mail.delay("ada") for _ in range(2)]
        for job in failed:
            with pytest.raises(errors.JobFailed):
                await job.result(timeout=10)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "tasks.py").write_text(MAILS, "utf-8")
    env = {**CHILD_ENV, "AIOTQ_URL": valkey.url, "AIOTQ_NAMESPACE": namespace}
    lines = re.findall(r"^    (aiotq .*?) +# (.*)$", NIGHT, re.MULTILINE)
    commands = [command for line, comment in lines for command in (line, *re.findall(r": (aiotq .*)$", comment))]
    short = {"aiotq job c4d210": failed[0].id[-6:], "aiotq retry c4d210": failed[0].id[-6:]}
    said: dict[str, tuple[int, str]] = {}
    for command in commands:
        words = [word.replace("c4d210", short.get(command, "")) for word in command.split()]
        words += ["--yes"] if "--all" in words else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *words), cwd=tmp_path, env=env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=processes.die_with_parent,
        )  # fmt: skip
        assert process.stderr is not None
        if words[1] == "tail":
            await asyncio.wait_for(process.stderr.readuntil(b"Ctrl-C ends"), 30)
            process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert "Traceback" not in err.decode()
        said[command] = process.returncode or 0, out.decode()
    assert "no worker is alive" in said["aiotq status"][1]
    assert said.pop("aiotq tail")[0] == 130
    assert "no mail server" in said["aiotq job c4d210"][1]
    assert said["aiotq retry --all --task send_mail --since 1h"] == (0, "retried 1 job\n")
    assert said.pop("aiotq doctor")[0] in {0, 1}  # as the server of this run is set up
    assert {code for code, _ in said.values()} == {0}
    assert len(said) == len(commands) - 2 == 8


MAILS = """
from aiotq import App
app = App()
@app.task(queue="email")
async def send_mail(to: str) -> None: ...
"""
