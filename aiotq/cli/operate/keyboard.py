"""Keys pressed on the terminal, one at a time, while something is shown on it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


class Keys:
    """What was pressed and not asked for yet."""

    def __init__(self) -> None:
        self._pressed = asyncio.Queue[str]()

    def take_in(self, text: str) -> None:
        """Characters that came."""
        for char in text:
            self._pressed.put_nowait(char)

    async def any_of(self, wanted: str, *, within_s: float) -> bool:
        """Whether one of these is pressed within that time; others are ignored."""
        try:
            async with asyncio.timeout(within_s):
                while await self._pressed.get() not in wanted:
                    pass
        except TimeoutError:
            return False
        return True


@contextmanager
def keys() -> Generator[Keys]:
    """Within it, each key is heard as it is pressed, and not shown. Where stdin is no terminal, none ever is."""
    keyboard = Keys()
    if not sys.stdin.isatty():
        yield keyboard
        return
    import termios  # noqa: PLC0415  there is none on Windows, where nothing of this is used
    import tty  # noqa: PLC0415

    number, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)  # Ctrl-C still interrupts
    loop.add_reader(number, lambda: keyboard.take_in(os.read(number, 64).decode(errors="replace")))
    try:
        yield keyboard
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSADRAIN, before)
