from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def pyright(*files: Path) -> tuple[int, list[str]]:
    """How many files it read, and what it found in them."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, files)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(said.stdout)
    found = [
        f"{Path(entry['file']).name}:{entry['range']['start']['line'] + 1}: {entry['message']}"
        for entry in report["generalDiagnostics"]
    ]
    return report["summary"]["filesAnalyzed"], found


def test_types_are_exactly_those_of_the_function_and_every_expected_mistake_is_found(tmp_path: Path) -> None:
    count, found = pyright(HERE / "tasks.py")
    assert count == 1
    assert not found, "\n".join(found)
