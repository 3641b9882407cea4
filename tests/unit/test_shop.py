"""The parts of examples/shop that need no worker."""

from __future__ import annotations

import mailbox
import sys
from collections import Counter
from datetime import UTC, date
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest
from rich.console import Console

from examples.shop import make_sales, sales
from examples.shop.mails import Account, arrived
from examples.shop.processes import EndedEarly, first_line, log_lines, python
from examples.shop.progress import Progress
from examples.shop.sales import read_sales, sales_of


def test_the_file_holds_a_thousand_sales_of_one_day():
    rows = read_sales()
    assert len({row.sale.id for row in rows}) == 1_000
    assert {row.sale.sold_at.date() for row in rows} == {date(2027, 1, 15)}
    assert {row.notify for row in rows} == {"soon", "first", "live", "later"}
    assert sales_of(date(2027, 1, 15)) == [row.sale for row in rows]
    assert sales_of(date(2027, 1, 16)) == []


def test_a_sale_is_read_with_its_types():
    sale = read_sales()[0].sale
    assert sale.price == Decimal("41.49")
    assert sale.sold_at.tzinfo == UTC


def test_the_generator_writes_the_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(make_sales, "CSV", tmp_path / "sales.csv")
    make_sales.main()
    assert (tmp_path / "sales.csv").read_bytes() == sales.CSV.read_bytes()


def account(*, arrived: dict[str, int], failed: set[str]) -> Account:
    return Account(sales=frozenset({"S1", "S2"}), arrived=Counter(arrived), failed=frozenset(failed))


def test_it_adds_up_if_each_sale_was_mailed_once_or_refused():
    good = account(arrived={"S1": 1}, failed={"S2"})
    assert good.mistakes() == []
    assert good.delivered == 1


@pytest.mark.parametrize(
    ("arrived", "failed", "mistake"),
    [
        ({"S1": 2, "S2": 1}, set(), "1 mailed twice or more: S1"),
        ({"S1": 1}, set(), "1 neither mailed nor refused: S2"),
        ({"S1": 1, "S2": 1}, {"S2"}, "1 mailed, and yet failed: S2"),
        ({"S1": 1, "S2": 1, "S3": 1}, set(), "1 mailed, and yet no sale: S3"),
    ],
)
def test_it_does_not_add_up_otherwise(arrived, failed, mistake):
    assert account(arrived=arrived, failed=failed).mistakes() == [mistake]


def test_progress_counts_what_the_workers_and_the_handles_say():
    progress = Progress(total=9)
    for event in ["ready", "started", "started", "started", "succeeded", "retried", "started", "failed"]:
        progress.count({"event": event})
    progress.count(
        {"event": "rate", "counts": {"started": 3, "succeeded": 2, "failed": 1}}
    )  # the failed one had a line
    progress.succeeded, progress.failed = 3, 1
    figures = progress.figures()
    assert {name: figures[name] for name in figures if name != "jobs/s"} == {
        "queued": "3",
        "running": "2",
        "succeeded": "3",
        "retried": "1",
        "failed": "1",
    }
    assert "queued 3   running 2" in progress.line()


def test_no_more_run_than_are_left():
    progress = Progress(total=2)
    progress.count({"event": "rate", "counts": {"started": 2}})
    progress.succeeded = 2
    assert progress.running == 0


async def send(port: int, to: str, message_id: str) -> int:
    """The mail server's code for a mail."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "shop@shop.example", to, f"<{message_id}@shop.example>"
    mail.set_content("Sold.")
    try:
        await aiosmtplib.send(mail, hostname="127.0.0.1", port=port, start_tls=False)
    except aiosmtplib.SMTPRecipientsRefused as refused:
        return refused.recipients[0].code
    return 250


async def test_the_mail_server_keeps_refuses_and_greylists(tmp_path: Path):
    async with python("examples.shop.smtp", str(tmp_path / "mails")) as server:
        port = int(await first_line(server))
        assert await send(port, "ada@mail.example", "S1") == 250
        assert await send(port, "bob@gone.example", "S2") == 550
        assert await send(port, "eve@greylist.example", "S3") == 451
        assert await send(port, "eve@greylist.example", "S3") == 250
        assert await send(port, "accounts@shop.example", "digest-2027-01-15") == 250
    assert server.returncode == 0
    assert arrived(tmp_path / "mails") == (Counter({"S1": 1, "S3": 1}), 1)
    assert len(mailbox.Maildir(tmp_path / "mails")) == 3


async def test_a_process_that_ends_early_is_told_with_what_it_said():
    async with python("no_such_module_of_the_shop") as process:
        with pytest.raises(EndedEarly, match="no_such_module_of_the_shop"):
            await first_line(process)


async def test_log_lines_are_read_until_the_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "says.py").write_text(
        "import sys\nprint('{\"event\": \"ready\"}', 'and bye', sep='\\n', file=sys.stderr)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lines: list[dict[str, str]] = []
    async with python("says") as process:
        with pytest.raises(EndedEarly, match="and bye"):
            async for line in log_lines(process):
                lines.append(line)  # noqa: PERF401  the loop ends by raising
    assert lines == [{"event": "ready"}]


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "stays.py").write_text(
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\nsignal.pause()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys.modules[python.__module__], "END_WITHIN_S", 0.1)
    async with python("stays") as process:
        assert await first_line(process) == "up"
    assert process.returncode == -9


def test_all_figures_fit_on_a_terminal():
    console = Console(width=80, force_terminal=True, color_system=None)
    with console.capture() as shown:
        progress = Progress(total=1_000)
        progress.failed = 250
        console.print(progress)
    bar, names, values = shown.get().splitlines()
    assert set(bar.strip()) <= set("━╸")
    assert len(bar.strip()) == 18
    assert names.split() == ["queued", "running", "succeeded", "retried", "failed", "jobs/s"]
    assert values.split()[:5] == ["750", "0", "0", "0", "250"]
