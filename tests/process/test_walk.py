"""docs/a-night.md: `aiotq status`, as the dashboard, names the cause of each of five troubles; its hints mend them."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiotq import App
from aiotq.web import aiotq_dashboard
from tests.process.commands import aiotq
from tests.process.night import prepare
from tests.processes import ROOT
from tests.web.test_pages import Elements
from tests.web.visitor import visitor

if TYPE_CHECKING:
    from tests.process.rig import Rig

PAGE = (Path(ROOT) / "docs" / "a-night.md").read_text("utf-8")
CAUSES = {"server_oom", "worker_stuck", "poison", "queue_paused", "task_unknown"}
# Numbers, lengths of time, sizes and ids differ from night to night.
_DIFFERS = re.compile(r"\b[0-9a-f]{6}\b|\b\d[\d.,]*( (ms|[smhd]|[KMG]iB)\b)?( \d+ [smh]\b)?")

_SERVER = re.compile(r"redis-cli(?: -[shp] \S+)+")
_HOST = re.compile(r"\bon host \S+:")


def shape(text: str) -> str:
    """Steps of a hint stand in a line each, and where the server is, and what the machine is called, differs too."""
    plain = _SERVER.sub("redis-cli", _HOST.sub("on host N:", re.sub(r";\s", " ", text)))
    return " ".join(_DIFFERS.sub("N", plain).split())


def commands(hint: str) -> list[str]:
    """What of it is to be pasted."""
    ends = [step.rpartition(": ")[2] for step in hint.split("; ")]
    return [end for end in ends if end.startswith(("aiotq ", "redis-cli ", "kill "))]


async def paste(rig: Rig, line: str) -> None:
    """As a person does, who says yes where that is asked."""
    program, *words = shlex.split(line)
    if program == "aiotq":
        done = await aiotq(rig, *words, *(["--yes"] if words[0] in {"cancel", "discard"} else []))
        assert done.code == 0, done.err
        return
    if program == "redis-cli" and shutil.which(program) is None:  # what it would send
        option, _socket, *words = words
        assert option == "-s"
        await rig.raw.execute_command(*words)
        return
    shell = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(shell.communicate(), 30)
    assert shell.returncode == 0
    assert program != "redis-cli" or out.decode().strip() == "OK"


@pytest.mark.timeout(400)
async def test_status_and_dashboard_name_each_cause_and_its_hint_mends_it(rig: Rig):
    night = await prepare(rig)

    said = await aiotq(rig, "status", "--json")
    assert said.code == 1
    findings = {finding["code"]: finding for finding in said.json["findings"]}
    assert set(findings) >= CAUSES
    shown = await aiotq(rig, "status")
    assert shown.code == 1
    page = shape(PAGE)
    for code in CAUSES:
        assert shape(findings[code]["what"]) in shape(shown.out)
        assert shape(findings[code]["hint"]) in shape(shown.out)
        assert shape(findings[code]["what"]) in page, "docs/a-night.md shows another text"
        assert shape(findings[code]["hint"]) in page, "docs/a-night.md shows another hint"

    async with App(rig.url, namespace=rig.namespace) as app, visitor(aiotq_dashboard(app)) as client:
        overview = shape(" ".join(Elements((await client.get("/")).text).text))
    for code in CAUSES:
        assert shape(findings[code]["what"]) in overview
        assert shape(findings[code]["hint"]) in overview

    # The hints, one after the other, as they are printed.
    await paste(rig, commands(findings["server_oom"]["hint"])[0])
    await paste(rig, commands(findings["queue_paused"]["hint"])[0])
    await paste(rig, commands(findings["task_unknown"]["hint"])[-1])
    await paste(rig, commands(findings["poison"]["hint"])[-1])
    await rig.all_ended([*night.mails, night.mistyped])
    [kill] = commands(findings["worker_stuck"]["hint"])
    assert kill == f"kill -TERM {night.anna.pid}"
    await paste(rig, kill)
    await night.anna.exit()

    after = (await aiotq(rig, "status", "--json")).json["findings"]
    assert not CAUSES & {finding["code"] for finding in after}
    await rig.stop(night.bob)
