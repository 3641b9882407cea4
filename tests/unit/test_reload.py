"""Which files `--reload` looks after, and what it says of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiotq.cli.reload import counts, watched
from aiotq.supervisor.reloading import _any, _named


@pytest.mark.parametrize(
    ("path", "theirs"),
    [
        ("shop/tasks.py", True),
        ("tasks.py", True),
        ("shop/tasks.pyc", False),
        ("shop/page.html", False),
        ("shop/__pycache__/tasks.py", False),
        (".venv/lib/x.py", False),
        (".git/x.py", False),
        ("shop/.#tasks.py", False),
        ("node_modules/x.py", False),
        ("venv/lib/x.py", False),
    ],
)
@pytest.mark.parametrize("root", ["/home/ada/shop", "/srv/.venv/shop", "/build/site-packages/shop"])
def test_a_change_is_one_of_the_users_code_wherever_that_lies(root: str, path: str, *, theirs: bool) -> None:
    assert counts(Path(root, path), [Path(root)]) is theirs
    assert not counts(Path("/elsewhere", path), [Path(root)])


def test_the_current_folder_is_looked_after_and_a_package_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "mine", there / "other"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('nobody shall import it')\n")
    (there / "alone.py").touch()
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(there))
    assert watched("mine.tasks:app") == [here]
    assert watched("other.tasks") == [here, there / "other"]
    assert watched("alone:app") == [here, there]
    assert watched("nowhere") == [here]


def test_many_files_are_one_and_a_number() -> None:
    assert _named(["a.py"]) == "a.py"
    assert _named(["a.py", "b.py", "c.py"]) == "a.py and 2 more"


async def test_the_first_to_come_is_enough() -> None:
    never, event = asyncio.get_running_loop().create_future(), asyncio.Event()
    waiting = asyncio.create_task(_any(event, never))
    await asyncio.sleep(0)
    assert not waiting.done()
    event.set()
    await waiting
    never.cancel()
