"""A real mail server, as a process of its own: `python -m examples.shop.smtp MAILDIR`.

It listens on a free port of the loopback interface, prints that port, and keeps what it accepts in a maildir.
As real servers do, it refuses some mails: for now (4xx) or for ever (5xx).
"""

import asyncio
import signal
import sys
from pathlib import Path

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, Envelope, Session

ACCEPTED = "250 OK"
GREYLISTED = "451 4.7.1 Greylisted, try again later"
NO_SUCH_MAILBOX = "550 5.1.1 No such mailbox"


class PickyMailbox(Mailbox):
    """Keeps mails, but not for everybody."""

    def __init__(self, maildir: Path) -> None:
        super().__init__(maildir)  # pyright: ignore[reportUnknownMemberType]
        self.known: set[str] = set()

    async def handle_RCPT(  # noqa: N802  the name that aiosmtpd looks for
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer to a recipient."""
        _ = server, session, options
        answer = self.answer(address)
        if answer == ACCEPTED:
            envelope.rcpt_tos.append(address)
        return answer

    def answer(self, address: str) -> str:
        """gone.example has closed its mailboxes; greylist.example takes no first mail from a stranger."""
        domain = address.rpartition("@")[2]
        stranger = address not in self.known
        self.known.add(address)
        if domain == "gone.example":
            return NO_SUCH_MAILBOX
        return GREYLISTED if domain == "greylist.example" and stranger else ACCEPTED


async def serve(maildir: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    mailbox = PickyMailbox(maildir)
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="mx.example"), "127.0.0.1", 0)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
