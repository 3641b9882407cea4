"""Commands of aiotq's that a hint names, to be pasted into a shell."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def command(verb: str, *options: str, of: Sequence[str] = ()) -> str:
    """A whole command, quoted. Whatever an outsider has chosen as a name in it is taken for a name.

    options: with their values, which may begin with "-" too. of: the ids or the queue that it is about; behind "--"
    where one begins with "-", since `aiotq discard --all` means all dead letters, and not a job of that id.
    """
    if any(name.startswith("-") for name in of):
        return shlex.join(["aiotq", verb, *options, "--", *of])
    return shlex.join(["aiotq", verb, *of, *options])
