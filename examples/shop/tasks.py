"""What the shop does in the background: the one file that its website and its workers share.

The website enqueues:    await send_sold_email.delay(sale)
A worker runs it:        python -m aiotq examples.shop.tasks:app
"""

import os
import smtplib
from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from email.message import EmailMessage

import aiosmtplib

from aiotq import App, Reject, RetryPolicy
from examples.shop.sales import Sale, sales_of

SHOP = "shop@shop.example"
ACCOUNTS = "accounts@shop.example"

app = App()  # its server: AIOTQ_URL, or the embedded one


# An async task runs on the worker's event loop, a hundred of them at once.
# A mail server that is busy gets another try after 1, 3 and 10 seconds, and then every 10: six attempts in all.
@app.task(queue="email", retries=5, retry=RetryPolicy(delays=[1, 3, 10]), timeout=30)
async def send_sold_email(sale: Sale) -> str:
    """Tell a seller what was sold, and for how much. Returns the mail server's answer."""
    mail = EmailMessage()
    mail["From"], mail["To"] = SHOP, sale.seller_email
    mail["Subject"] = f"Sold: {sale.item} for {sale.price} €"
    # Should a worker die between the mail and the end of the job, the job runs again. A Message-ID that is the same in
    # each attempt lets the receiver drop the second mail: a task that may run twice does no harm.
    mail["Message-ID"] = f"<{sale.id}@shop.example>"
    mail.set_content(f"Dear {sale.seller},\n\n{sale.buyer} has bought your {sale.item} for {sale.price} €.\n")
    host, port = mail_server()
    try:
        _, answer = await aiosmtplib.send(mail, hostname=host, port=port, start_tls=False)
    except aiosmtplib.SMTPRecipientsRefused as refused:
        [refusal] = refused.recipients
        if refusal.code >= 500:  # no such mailbox, now or later: no further attempt, a dead letter
            raise Reject(f"{refusal.code} {refusal.message}") from refused
        raise  # whatever else a task raises is retried
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """A day in three figures."""

    sales: int
    turnover: Decimal
    best_item: str


# A plain `def` runs in a thread, so it may block: smtplib does.
@app.task
def nightly_digest(day: date) -> Digest:
    """Mail the day's figures to the accountants, and return them."""
    sales = sales_of(day)
    [(best_item, _)] = Counter(sale.item for sale in sales).most_common(1)
    digest = Digest(sales=len(sales), turnover=sum((sale.price for sale in sales), Decimal(0)), best_item=best_item)
    mail = EmailMessage()
    mail["From"], mail["To"] = SHOP, ACCOUNTS
    mail["Subject"] = f"{day}: {digest.sales} sales, {digest.turnover} €"
    mail["Message-ID"] = f"<digest-{day}@shop.example>"
    mail.set_content(f"What sold best: {digest.best_item}.\n")
    with smtplib.SMTP(*mail_server()) as server:
        server.send_message(mail)
    return digest


def mail_server() -> tuple[str, int]:
    """Host and port of the mail server."""
    host, _, port = os.environ.get("SHOP_SMTP", "127.0.0.1:1025").rpartition(":")
    return host, int(port)
