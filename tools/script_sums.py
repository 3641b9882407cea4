"""The SHA-1 of each Lua script as the server is taught it. `tests/unit/script_sums.txt` pins them.

After a script was changed on purpose: `python -m tools.script_sums > tests/unit/script_sums.txt`.
"""

from __future__ import annotations

from aiotq.store.scripts import ALL


def sums() -> str:
    """A line a script: its SHA-1 and its name."""
    return "".join(f"{script.sha}  {script.name}\n" for script in sorted(ALL, key=lambda script: script.name))


if __name__ == "__main__":
    print(sums(), end="")
