"""A mistake on the command line, and the exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.cli.text import without_passwords

if TYPE_CHECKING:
    from aiotq.cli.look import Paper

EXIT_OK = 0
EXIT_FAILURE = 1  # something failed at run time
EXIT_USAGE = 2
EXIT_FORCED = 130  # stopped by a second signal


class Mistake(Exception):
    """Ends the command with a message and no traceback but one of the user's own code.

    lines: what happened, then what was expected or what to do. detail: what stands below, such as that traceback.
    """

    def __init__(self, *lines: str, detail: str = "", exit_code: int = EXIT_USAGE) -> None:
        self.lines, self.detail, self.exit_code = lines, detail, exit_code
        super().__init__(" / ".join(lines))

    def show(self, paper: Paper) -> None:
        """Write it, if there is something to tell."""
        if not self.lines:
            return
        first, *rest = map(without_passwords, self.lines)  # of a URL in the place of a module, too
        paper.write([(("error:", "bold red"), (f" {first}", "")), *(((row, ""),) for row in rest)])
        paper.write(((row, ""),) for row in without_passwords(self.detail).splitlines())
