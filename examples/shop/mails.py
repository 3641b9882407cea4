"""Does it add up? Compares the mails that arrived with the sales, one by one."""

import mailbox
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of the sales: by the mail server's maildir, and by the jobs."""

    sales: frozenset[str]  # ids
    arrived: Counter[str]  # mails in the maildir, by sale
    failed: frozenset[str]  # sales whose job failed for good

    @property
    def delivered(self) -> int:
        """Sales whose mail has arrived."""
        return len(self.sales & self.arrived.keys())

    def mistakes(self) -> list[str]:
        """What does not add up; nothing, if each sale was either mailed once or refused."""
        delivered = self.arrived.keys()
        wrong = {
            "mailed twice or more": {sale for sale, mails in self.arrived.items() if mails > 1},
            "neither mailed nor refused": self.sales - delivered - self.failed,
            "mailed, and yet failed": self.failed & delivered,
            "mailed, and yet no sale": delivered - self.sales,
        }
        return [f"{len(ids)} {what}: {', '.join(sorted(ids)[:5])}" for what, ids in wrong.items() if ids]


def arrived(maildir: Path) -> tuple[Counter[str], int]:
    """The mails of a maildir: how many of each sale, and how many digests."""
    names = [str(mail["Message-ID"]).strip("<>").partition("@")[0] for mail in mailbox.Maildir(maildir, create=False)]
    mails = Counter(name for name in names if not name.startswith("digest-"))
    return mails, len(names) - mails.total()
