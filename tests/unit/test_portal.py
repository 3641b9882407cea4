"""The loop in a thread that `delay_sync` uses: its end is the program's end, and says nothing."""

from __future__ import annotations

import subprocess
import sys

from tests import processes


def _ends(code: str) -> str:
    """What a program prints. It must end well and say nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import asyncio\nfrom aiotq.portal import portal\n{code}"],
        capture_output=True, text=True, check=False, timeout=60, cwd=processes.ROOT,
        preexec_fn=processes.die_with_parent,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_program_whose_portal_has_used_a_thread_of_its_own_ends_silently() -> None:
    # As for every address that has to be looked up, and each connection to the built-in server.
    assert _ends("print(portal().call(asyncio.to_thread(str, 1)))") == "1\n"


def test_goodbyes_are_said_and_what_still_runs_is_cancelled() -> None:
    said = _ends("""
async def wait():
    try:
        await asyncio.sleep(3600)
    finally:
        print("cancelled")
async def begin():
    kept.append(asyncio.create_task(wait()))
    await asyncio.sleep(0)
async def goodbye():
    print("bye")
kept = []
portal().call(begin())
portal().at_end(goodbye)
portal().at_end(goodbye)
""")
    assert said == "bye\ncancelled\n"
