"""`--reload`: which files are looked after, and what of them counts as a change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aiotq.cli import near
from aiotq.cli.mistake import Mistake
from aiotq.cli.text import printable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterable, Sequence

    from aiotq.supervisor.reloading import Changes

STEP_MS = 100  # saves that follow each other so soon are one change
MOST_MS = 1_500  # ... but for no longer than that
NOT_THEIRS = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "build", "dist"})


def changes(target: str) -> Changes:
    """What yields changes of the code behind `module:app`. Raises Mistake if watchfiles is not installed."""
    try:
        import watchfiles as found  # noqa: PLC0415  the extra `reload`
    except ImportError:
        raise Mistake("--reload: watchfiles is not installed", "run: pip install 'aiotq[reload]'") from None
    folders, watchfiles = watched(target), cast("Any", found)

    def theirs(_: object, path: str) -> bool:
        return counts(Path(path), folders)

    async def heard(over: asyncio.Event) -> AsyncIterator[Sequence[str]]:
        watch = watchfiles.awatch(
            *folders,
            watch_filter=theirs,
            stop_event=over,
            step=STEP_MS,
            debounce=MOST_MS,
            ignore_permission_denied=True,
        )
        async for changed in watch:
            yield sorted({_shown(Path(path)) for _, path in changed})

    return heard


def watched(target: str) -> list[Path]:
    """The current folder, and that of the module's package if it lies elsewhere. The module is not imported."""
    here = Path.cwd()
    spec = near.find(target.partition(":")[0].partition(".")[0])
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if spec is not None and not places and spec.origin is not None:
        places = [str(Path(spec.origin).parent)]
    folders = [Path(place).resolve() for place in places]
    return [here, *(folder for folder in folders if folder.is_dir() and not folder.is_relative_to(here))]


def counts(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a change of that file is one of the code: a .py file of the user's, in no hidden folder."""
    if path.suffix != ".py":
        return False
    for folder in folders:
        if path.is_relative_to(folder):
            parts = path.relative_to(folder).parts
            return not any(part.startswith(".") or part in NOT_THEIRS for part in parts)
    return False


def _shown(path: Path) -> str:
    here = Path.cwd()
    return printable(str(path.relative_to(here) if path.is_relative_to(here) else path))
