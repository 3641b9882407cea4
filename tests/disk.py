"""A server whose disk can be watched: which of its writes have been brought to disk, and when.

A library, preloaded into the server, writes down each fdatasync that has succeeded: how long the file was as it began,
and when it ended. It can make each take longer.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    struct stat file;
    fstat(fd, &file);
    const char *slow_us = getenv("DISK_SLOW_US");
    if (slow_us) usleep(atoi(slow_us));
    int result = real(fd);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char line[80];
    int length = snprintf(line, sizeof line, "%lu %lld %lld\n", (unsigned long)file.st_ino, (long long)file.st_size,
                          now.tv_sec * 1000000000LL + now.tv_nsec);
    int log = open(getenv("DISK_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (result == 0 && log >= 0 && write(log, line, length) != length) result = -1;
    close(log);
    return result;
}
"""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What a server has brought to disk."""

    folder: Path
    url: str
    pid: int

    def held(self, text: str, *, by_s: float) -> bool:
        """Whether these bytes, wherever they first stand in the server's file, were on disk by then (monotonic)."""
        [(inode, offset)] = self._where(text)
        synced = [line.split() for line in (self.folder / "disk.log").read_text().splitlines()]
        return any(
            int(which) == inode and int(size) >= offset + len(text) and int(end_ns) <= by_s * 1e9
            for which, size, end_ns in synced
        )

    def _where(self, text: str) -> list[tuple[int, int]]:
        """In which file, and where in it."""
        files = [*(self.folder / "appendonlydir").glob("*.incr.aof"), *self.folder.glob("appendonly.aof")]
        found = [(path.stat().st_ino, path.read_bytes().find(text.encode())) for path in files]
        return [(inode, offset) for inode, offset in found if offset >= 0]


@contextmanager
def watched(kind: servers.Kind, folder: Path, *options: str, slow_s: float = 0) -> Iterator[Disk]:
    """A server with an append-only file. slow_s: how long it takes more to bring it to disk."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None or servers.find(kind) is None:
        pytest.skip(f"needs Linux, a C compiler and a {kind} server")
    library = folder / "disk.so"
    source = folder / "disk.c"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        patch.setenv("DISK_LOG", str(folder / "disk.log"))
        if slow_s:
            patch.setenv("DISK_SLOW_US", str(round(slow_s * 1e6)))
        running = servers.running(kind, folder, "--appendonly", "yes", *options)
        server = running.__enter__()
    try:
        assert server.pid is not None
        yield Disk(folder=folder, url=server.url, pid=server.pid)
    finally:
        running.__exit__(None, None, None)


def now_s() -> float:
    """The clock of `held`."""
    return time.monotonic()
