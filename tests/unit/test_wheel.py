"""What is published: the package alone, and the same bytes whoever builds it from the same source."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ("aiotq", "pyproject.toml", "README.md", "LICENSE", ".gitignore")
SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abpr]-[0-9A-Za-z-]{10}|"
    rb"pypi-[A-Za-z0-9_-]{50}|eyJ[A-Za-z0-9_-]{20,}\.eyJ"
)


def build(folder: Path, *, mtime: int) -> Path:
    """A wheel, built in a folder of its own from files of that age."""
    folder.mkdir()
    for name in SOURCE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for path in folder.rglob("*"):
        os.utime(path, (mtime, mtime))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1800000000"}
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel") / "first", mtime=1_700_000_000)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
    package = {name for name in names if name.parts[0] == "aiotq"}
    about = {name.parts[0] for name in set(names) - package}
    assert len(about) == 1
    assert re.fullmatch(r"aiotq-[\w.]+\.dist-info", about.pop())
    web = {name for name in package if name.parts[:3] in {("aiotq", "web", "static"), ("aiotq", "web", "templates")}}
    assert {name.suffix for name in package - web} == {".py", ".lua", ".typed"}
    assert {name.suffix for name in web} == {".css", ".html", ".js", ".md", ".svg", ".txt"}
    assert not [name for name in names if "test" in str(name).lower() and name.name != "testing.py"]
    shipped = {
        PurePosixPath(path.relative_to(ROOT).as_posix()) for path in (ROOT / "aiotq").rglob("*") if path.is_file()
    }
    assert package == {path for path in shipped if "__pycache__" not in path.parts}


def test_the_wheel_holds_no_secret(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if SECRETS.search(archive.read(name))]
    assert SECRETS.search(b"-----BEGIN RSA " + b"PRIVATE KEY-----")


def test_two_builds_of_one_source_are_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "second", mtime=1_750_000_000)
    assert again.name == wheel.name
    assert sha256(again.read_bytes()).digest() == sha256(wheel.read_bytes()).digest()
