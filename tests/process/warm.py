"""Commands that are run by copies of one process, which has loaded all that they need: a start costs next to nothing.

`python -m tests.process.warm SOCKET` is that process. What it forks for a command has its environment, folder, standard
streams and exit code as `python -m aiotq` has them; how that itself starts is for tests that start it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.processes import PATH, ROOT, die_with_parent, lasting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODULE = ROOT / "aiotq" / "__main__.py"


class Warm:
    """The process, from the side of the tests: started when it is first needed."""

    def __init__(self, folder: Path) -> None:
        """folder: with a path short enough for a unix socket."""
        self._address = folder / "warm"
        self._process: subprocess.Popen[bytes] | None = None

    async def run(
        self, words: Sequence[str], *, env: Mapping[str, str], folder: Path, within_s: float
    ) -> tuple[int, bytes, bytes]:
        """Exit code, stdout and stderr of a command, which is alone with them. Raises EOFError if it was killed."""
        if self._process is None:
            self._start()  # from this thread, with which it is to die
        reader, writer = await asyncio.open_unix_connection(self._address)
        said = [folder / f".warm-{os.urandom(4).hex()}" for _ in "oe"]
        try:
            asked = {"words": words, "env": dict(env), "folder": str(folder), "said": [str(path) for path in said]}
            writer.write(json.dumps(asked).encode() + b"\n")
            line = await asyncio.wait_for(reader.readline(), within_s)
            if not line:
                raise EOFError(f"aiotq {words} was killed; it said: {said[1].read_text(errors='replace')}")
            out, err = (path.read_bytes() for path in said)
        finally:
            writer.close()
            for path in said:
                path.unlink(missing_ok=True)
        return int(line), out, err

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.process.warm", str(self._address)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": PATH},
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
        lasting.add(self._process.pid)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


# --- in the process -------------------------------------------------------------------------------------------------


def serve(address: str) -> NoReturn:
    """Load what commands load, and fork for each that is asked for."""
    import aiotq.cli.operate

    for module in pkgutil.iter_modules(aiotq.cli.operate.__path__, "aiotq.cli.operate."):
        importlib.import_module(module.name)
    for name in ("aiotq.cli.main", "aiotq.store.redis"):
        importlib.import_module(name)
    with suppress(ImportError):
        importlib.import_module("typer._adapters")  # which typer loads late, if it has it
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a copy: its exit code comes over its connection
    os.write(1, b"ready\n")
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _become(connection)
        connection.close()


def _become(connection: socket.socket) -> NoReturn:
    """Be that command, to its end."""
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection.makefile("rb") as asked:
        given = json.loads(asked.readline())
    os.environ.clear()
    os.environ.update(given["env"])
    time.tzset()
    os.chdir(given["folder"])
    for number, path in enumerate(given["said"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.argv = [str(MODULE), *given["words"]]
    sys.path[0] = given["folder"]
    connection.sendall(b"%d\n" % _run())
    os._exit(0)


def _run() -> int:
    from aiotq.cli.main import main

    try:
        code = main()
        sys.stdout.flush()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001  as the interpreter would
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
