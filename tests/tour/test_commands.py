"""The page on the command line, executed as it stands."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.cli import main as command_line
from tests import processes

if TYPE_CHECKING:
    from aiotq import App
    from tests.servers import Server

DOCS = Path(__file__).parents[2] / "docs"
SECTION = (DOCS / "inspecting.md").read_text("utf-8").partition("\n## On the command line\n")[2]
SESSIONS = re.findall(r"```console\n(.*?)```", SECTION, re.DOTALL)
SHOP = """
from aiotq import App

app = App()

@app.task(retries=0)
async def send_mail(to: str, copies: int) -> str:
    if to == "nobody":
        raise ValueError("nobody to write to")
    return f"{copies} to {to}"
"""


@pytest.fixture
def shop(tmp_path: Path, valkey: Server, namespace: str) -> dict[str, Any]:
    """A folder with the reader's shop in it, and what a shell there would have."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "tasks.py").write_text(SHOP, "utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIOTQ_", "REDIS_"))}
    env = {"AIOTQ_URL": valkey.url, "AIOTQ_NAMESPACE": namespace, "PYTHONPATH": processes.PATH}
    return {"cwd": tmp_path, "env": kept | env}


async def run(shop: dict[str, Any], command: str) -> tuple[int, str, str]:
    """A command of the page to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *shlex.split(command)), **shop, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=processes.die_with_parent,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def test_the_page_names_each_command():
    assert [name for name in command_line.COMMANDS if f"`aiotq {name}" not in SECTION] == []


def test_the_page_names_each_option_that_all_share():
    for option in ("--url", "--namespace", "--app", "--json", "--all", "--yes", "--to"):
        assert f"`{option}" in SECTION or f"[{option}" in SECTION


async def test_its_sessions_run_as_they_stand(shop: dict[str, Any], app: App, spawn_worker: processes.Spawn) -> None:
    await spawn_worker("shop.tasks:app", env={"PYTHONPATH": f"{shop['cwd']}{os.pathsep}{processes.PATH}"})
    code, failed, _ = await run(shop, "aiotq enqueue shop.tasks:send_mail --arg to=nobody --arg copies=1")
    assert code == 0
    short = failed.strip()[-6:]
    async with asyncio.timeout(30):
        while (await app.inspect.job(failed.strip())).summary.status != "failed":  # noqa: ASYNC110  another process
            await asyncio.sleep(0.05)
    said: dict[str, str] = {}
    for line in "".join(SESSIONS).splitlines():
        command = line.removeprefix("$ ").partition(" | ")[0].partition(" || ")[0].replace("c4d210", short)
        code, out, err = await run(shop, command)
        assert code == 0, err
        said[command] = out
    assert said["aiotq enqueue shop.tasks:send_mail --arg to=ada@example.org --arg copies=2 --wait 10"] == (
        "2 to ada@example.org\n"
    )
    assert short in said["aiotq jobs --state failed --since 1h"]
    assert "ValueError: nobody to write to" in said[f"aiotq job {short}"]
    assert said[f"aiotq retry {short}"] == f"retried {short}\n"
