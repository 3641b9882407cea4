"""An operator's commands as a person meets them: live ones, on terminals, and in pipes."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.process.commands import Terminal, aiotq, environment, interrupted, line, start
from tests.processes import die_with_parent

if TYPE_CHECKING:
    from tests.process.rig import Rig


# --- as it happens --------------------------------------------------------------------------------------------------


async def test_tail_tells_what_is_new_and_that_the_server_went_and_came_back(rig: Rig):
    await rig.start_server("--appendonly", "yes")
    worker = await rig.worker()
    old = await rig.tasks.note.delay()
    await rig.all_ended([old])
    tail = await start(rig, "tail", "--json", "--every", "0.1")
    text = await start(rig, "tail", "--every", "0.1")
    for one in (tail, text):
        await line(one.stderr, "watching")
    new = await rig.tasks.note.delay()
    told = [json.loads(await line(tail.stdout, new.id)) for _ in range(3)]
    assert [one["event"] for one in told] == ["enqueued", "started", "succeeded"]
    assert new.id[-6:] in await line(text.stdout, "succeeded")
    stumbles = await rig.tasks.stumble.delay(1)
    # Seen while it waits for its next attempt, or after that: what is known of it differs.
    assert re.search(r"ValueError: not yet  attempt 1, again in|attempt 1 failed", await line(text.stdout, "retried"))
    await stumbles.result(timeout=20)
    await rig.kill_server()
    await line(tail.stdout, "store_down")
    assert "no answer" in await line(text.stdout, "trying again")
    await rig.start_server("--appendonly", "yes")
    await line(tail.stdout, "store_up")
    await line(text.stdout, "connected again after")
    last = await rig.tasks.note.delay()
    assert json.loads(await line(tail.stdout, last.id))["event"] == "enqueued"
    assert [await interrupted(one) for one in (tail, text)] == [130, 130]
    await rig.stop(worker)


async def test_top_shows_a_screen_goes_on_without_its_server_and_gives_the_terminal_back(rig: Rig):
    await rig.start_server("--appendonly", "yes")
    top = await Terminal.of(rig, "top", "--every", "0.1")
    await top.shows("aiotq at unix://", times=3)
    await rig.kill_server()
    await top.shows("trying again")
    await rig.start_server("--appendonly", "yes")
    top.type("q")
    assert await top.end() == 0
    assert "\x1b[?1049h" in top.raw
    assert top.raw.rstrip().endswith(("\x1b[?1049l\x1b[?25h", "\x1b[?25h\x1b[?1049l", "\x1b[?25h", "\x1b[?1049l"))


async def test_ctrl_c_ends_top_with_130(rig: Rig):
    await rig.start_server()
    top = await Terminal.of(rig, "top")
    await top.shows("aiotq at unix://")
    top.type("\x03")
    assert await top.end() == 130
    assert "Traceback" not in top.text


async def test_top_as_json_is_a_line_a_turn(rig: Rig):
    await rig.start_server()
    top = await start(rig, "top", "--json", "--every", "0.1")
    for _ in range(2):
        assert json.loads(await line(top.stdout, "{"))["severity"]
    assert await interrupted(top) == 130
    assert (await aiotq(rig, "top", "--once")).out.startswith("aiotq at unix://")


# --- pipes and terminals --------------------------------------------------------------------------------------------


async def test_a_reader_that_has_had_enough_is_no_error(rig: Rig):
    await rig.start_server()
    await rig.enqueue(300)
    done = await asyncio.to_thread(
        subprocess.run,
        [f"{sys.executable} -m aiotq jobs --limit 500 -v | head -n 1; echo ${{PIPESTATUS[0]}}"],
        shell=True,
        executable="/bin/bash",
        env=environment(rig),
        cwd=rig.folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=die_with_parent,
    )
    assert done.stderr.replace("more: aiotq jobs", "") == done.stderr or "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
    assert done.stdout.splitlines()[-1] == "0"


async def test_colours_and_width_are_those_of_the_terminal(rig: Rig):
    await rig.start_server()
    shown = await Terminal.of(rig, "status")
    assert await shown.end() in {0, 1}
    assert "\x1b[" in shown.raw
    assert not [row for row in shown.text.splitlines() if len(row) > 80]
    plain = await Terminal.of(rig, "status", NO_COLOR="1")
    await plain.end()
    assert "\x1b[" not in plain.raw
    ascii_only = await Terminal.of(rig, "status", LC_ALL="C", LANG="C", PYTHONIOENCODING="ascii")
    await ascii_only.end()
    assert ascii_only.text.isascii()
    assert "Traceback" not in ascii_only.text


async def test_a_person_is_asked_on_a_terminal(rig: Rig):
    await rig.start_server()
    jobs = await rig.enqueue(2)
    asked = await Terminal.of(rig, "purge", "default")
    await asked.shows("cancel 2 jobs waiting in default? [y/N]")
    asked.type("n\n")
    assert await asked.end() == 1
    assert "nothing was done" in asked.text
    asked = await Terminal.of(rig, "cancel", "--all")
    await asked.shows("cancel 2 jobs? [y/N]")
    asked.type("y\n")
    assert await asked.end() == 0
    await rig.all_ended(jobs)
