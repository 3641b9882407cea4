"""What the shop's website does when things are sold: it enqueues jobs, and goes on."""

from datetime import date, datetime

from aiotq import Job, Signature
from examples.shop.sales import Row
from examples.shop.tasks import Digest, app, nightly_digest, send_sold_email

LATER_S = 3  # a real shop would say: tomorrow at eight


def mail_for(row: Row) -> Signature[str]:
    """The job that mails a seller, as soon as the seller wants it."""
    match row.notify:
        case "first":  # before all that wait
            return send_sold_email.options(priority=0).s(row.sale)
        case "live":  # a live auction's sellers are watching: the newest sale goes to the front of its priority
            return send_sold_email.options(lifo=True).s(row.sale)
        case "later":  # not before then
            return send_sold_email.options(countdown=LATER_S).s(row.sale)
        case "soon":
            return send_sold_email.s(row.sale)


async def sold(rows: list[Row]) -> list[Job[str]]:
    """Enqueue a mail for each sale. One by one it would be `await send_sold_email.delay(sale)`."""
    return await app.enqueue_many([mail_for(row) for row in rows])


async def closing(day: date, at: datetime) -> Job[Digest]:
    """Enqueue the digest of a day, for the moment when the shop closes."""
    return await nightly_digest.options(eta=at).delay(day)
