"""rediss://: a server is who it says it is, or nothing is sent to it; and whoever has to see to that is told."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from redis.asyncio import Redis

from aiotq import App
from aiotq.errors import StoreUnavailable, StoreUnusable
from aiotq.store import connect
from aiotq.store.connection import tls
from tests import servers
from tests.faults.fake_server import answering, sentinel, server
from tests.faults.sentinel_rig import free_port
from tests.worker.kit import Events

if TYPE_CHECKING:
    from collections.abc import Iterator

KIND = servers.speaks_tls()
pytestmark = pytest.mark.skipif(KIND is None, reason="no server here speaks TLS")
HERE = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files of a CA of the test's own, and of another one."""

    folder: Path
    ca: trustme.CA
    other: trustme.CA

    def pair(
        self, name: str, *hosts: str, ca: trustme.CA | None = None, until: datetime | None = None
    ) -> tuple[Path, Path]:
        """A certificate and its key."""
        made = (ca or self.ca).issue_cert(*hosts, not_after=until)
        return self._written(
            name, b"".join(blob.bytes() for blob in made.cert_chain_pems), made.private_key_pem.bytes()
        )

    def self_signed(self) -> tuple[Path, Path]:
        """One that stands for itself."""
        return self._written("self", self.other.cert_pem.bytes(), self.other.private_key_pem.bytes())

    @property
    def ca_file(self) -> Path:
        """What clients trust."""
        path = self.folder / "ca.pem"
        path.write_bytes(self.ca.cert_pem.bytes())
        return path

    @property
    def good(self) -> tuple[Path, Path]:
        """Of the address that the tests use."""
        return self.pair("good", HERE)

    @property
    def expired(self) -> tuple[Path, Path]:
        """The same, of long ago."""
        return self.pair("expired", HERE, until=datetime(2020, 1, 1, tzinfo=UTC))

    def _written(self, name: str, certificate: bytes, key: bytes) -> tuple[Path, Path]:
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate)
        paths[1].write_bytes(key)
        return paths


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(folder=tmp_path, ca=trustme.CA(), other=trustme.CA())


@pytest.fixture
def events() -> Iterator[Events]:
    handler = Events()
    logging.getLogger("aiotq").addHandler(handler)
    yield handler
    logging.getLogger("aiotq").removeHandler(handler)


@dataclass(frozen=True, kw_only=True)
class TlsServer:
    """A Redis that speaks TLS on a port, and plainly on a socket of its folder."""

    port: int
    folder: Path
    ca: Path

    def url(self, **query: object) -> str:
        """Verified by the test's CA, unless the query says otherwise."""
        pairs = {"ssl_ca_certs": self.ca, **query}
        return f"rediss://{HERE}:{self.port}?" + "&".join(f"{name}={value}" for name, value in pairs.items())

    def raw(self) -> Any:
        """To look at it, and to give it other certificates."""
        return Redis(unix_socket_path=str(self.folder / "s"))


@contextmanager
def serving(
    folder: Path, certificates: Certificates, pair: tuple[Path, Path], *, clients: str = "no"
) -> Iterator[TlsServer]:
    """clients: whether they have to show a certificate of the test's CA: yes or no."""
    port = free_port()
    certificate, key = map(str, pair)
    options = ("--tls-port", str(port), "--bind", HERE, "--tls-cert-file", certificate, "--tls-key-file", key)
    options += ("--tls-ca-cert-file", str(certificates.ca_file), "--tls-auth-clients", clients)
    assert KIND is not None
    with servers.running(KIND, folder, *options):
        yield TlsServer(port=port, folder=folder, ca=certificates.ca_file)


async def opened(url: str, *, limit_s: float = 5) -> None:
    store = connect(url, namespace="test", connect_timeout_s=limit_s)
    try:
        await store.open()
    finally:
        await store.close()


@pytest.mark.parametrize("clients", ["no", "yes"])
async def test_jobs_go_through_tls(server_folder: Path, certificates: Certificates, namespace: str, clients: str):
    with serving(server_folder, certificates, certificates.good, clients=clients) as redis:
        certificate, key = certificates.pair("client", "worker.example")
        own = {"ssl_certfile": certificate, "ssl_keyfile": key} if clients == "yes" else {}
        app = App(redis.url(**own), namespace=namespace)

        @app.task
        async def length(text: str) -> int:
            return len(text)

        async with app, app.worker():
            jobs = [await length.delay("x" * size) for size in (1, 100_000)]
            assert [await job.result(timeout=10) for job in jobs] == [1, 100_000]


REFUSED = {
    "expired": "certificate has expired.*one that is valid today was expected; renew",
    "wrong host": "not valid for '127.0.0.1'.*one for the host that the URL names was expected; correct",
    "self-signed": "self.signed certificate.*of a CA that is trusted here was expected; name its file",
    "unknown CA": "unable to get local issuer.*of a CA that is trusted here was expected; name its file",
}


@pytest.mark.parametrize("fault", REFUSED)
async def test_a_server_that_is_not_surely_the_right_one_is_told_to_a_person(
    server_folder: Path, certificates: Certificates, namespace: str, fault: str
):
    pair = {
        "expired": lambda: certificates.expired,
        "wrong host": lambda: certificates.pair("far", "redis.example"),
        "self-signed": certificates.self_signed,
        "unknown CA": lambda: certificates.pair("other", HERE, ca=certificates.other),
    }[fault]()
    with serving(server_folder, certificates, pair) as redis:
        app = App(redis.url(), namespace=namespace)

        with pytest.raises(StoreUnusable, match=REFUSED[fault]) as caught:
            await app.worker().start()

        assert caught.value.url == redis.url()
        with pytest.raises(StoreUnusable, match="no TLS with"):
            await opened(redis.url())


async def test_without_a_word_in_the_url_the_systems_cas_count(server_folder: Path, certificates: Certificates):
    with (
        serving(server_folder, certificates, certificates.good) as redis,
        pytest.raises(StoreUnusable, match="name its file in the URL: ssl_ca_certs="),
    ):
        await opened(f"rediss://{HERE}:{redis.port}")


async def test_a_server_that_wants_a_clients_certificate_says_so(server_folder: Path, certificates: Certificates):
    with (
        serving(server_folder, certificates, certificates.good, clients="yes") as redis,
        # Its alert, unless the end of the connection overtakes it.
        pytest.raises(
            (StoreUnusable, StoreUnavailable), match=r"(has refused this client|expects a client's).*ssl_certfile"
        ),
    ):
        await opened(redis.url())


@pytest.mark.parametrize(
    ("query", "warned"),
    [({"ssl_cert_reqs": "none"}, "is not verified"), ({"ssl_check_hostname": "false"}, "host name is not checked")],
)
async def test_what_is_not_verified_has_to_be_asked_for_and_is_warned_of_once(
    server_folder: Path, certificates: Certificates, monkeypatch, caplog, query: dict[str, str], warned: str
):
    monkeypatch.setattr(tls, "_said", set())
    pair = certificates.self_signed() if "ssl_cert_reqs" in query else certificates.pair("far", "redis.example")
    with serving(server_folder, certificates, pair) as redis, caplog.at_level(logging.WARNING):
        await opened(redis.url(**query))
        await opened(redis.url(**query))

    [record] = caplog.records
    assert warned in record.message
    assert vars(record)["event"] == "tls_unverified"


async def test_a_verified_connection_warns_of_nothing(server_folder: Path, certificates: Certificates, caplog):
    with serving(server_folder, certificates, certificates.good) as redis:
        await opened(redis.url())

    assert caplog.records == []


async def test_a_running_worker_goes_on_when_the_servers_certificate_is_valid_again(
    server_folder: Path, certificates: Certificates, namespace: str, events: Events
):
    with serving(server_folder, certificates, certificates.good) as redis:
        app = App(redis.url(), namespace=namespace)

        @app.task
        async def answer() -> int:
            return 42

        async with redis.raw() as raw, app, app.worker():

            async def present(pair: tuple[Path, Path]) -> None:
                await raw.config_set("tls-cert-file", str(pair[0]), "tls-key-file", str(pair[1]))

            await present(certificates.expired)
            await raw.client_kill_filter(_type="normal", skipme=True)
            told = await events.line("store_refuses")
            assert "certificate has expired" in told.getMessage()
            await present(certificates.good)
            await events.line("store_up")
            assert await (await answer.delay()).result(timeout=10) == 42


@pytest.mark.parametrize("scheme", ["rediss", "redis", "rediss+sentinel"])
async def test_a_handshake_that_is_never_answered_takes_no_longer_than_allowed(scheme: str):
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    mute = await asyncio.start_server(say_nothing, HERE, 0)
    port = mute.sockets[0].getsockname()[1]
    path = "/jobs" if "sentinel" in scheme else ""
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(StoreUnavailable):
        await opened(f"{scheme}://:secret@{HERE}:{port}{path}", limit_s=0.4)

    assert asyncio.get_running_loop().time() - began_s < 1.5
    mute.close()
    await mute.wait_closed()


async def test_one_side_that_speaks_no_tls_is_named(server_folder: Path, certificates: Certificates):
    with (
        serving(server_folder, certificates, certificates.good) as redis,
        pytest.raises((StoreUnusable, StoreUnavailable), match=f"redis://{HERE}:"),
    ):
        await opened(f"redis://{HERE}:{redis.port}", limit_s=0.5)
    async with answering(server()) as plain:
        with pytest.raises(StoreUnusable, match="does not speak it; use redis://"):
            await opened(f"rediss://{HERE}:{plain}")


async def test_a_file_that_can_not_be_read_is_named(tmp_path: Path):
    with pytest.raises(StoreUnusable, match=r"can't be used \(no such file.*: ssl_ca_certs=.*nowhere.pem\)"):
        await opened(f"rediss://{HERE}:1?ssl_ca_certs={tmp_path / 'nowhere.pem'}")
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(StoreUnusable, match=r"can't be used .*ssl_certfile=.*PEM form"):
        await opened(f"rediss://{HERE}:1?ssl_certfile={tmp_path / 'empty.pem'}")


async def test_sentinels_and_their_master_are_verified_alike(certificates: Certificates):
    certificate, key = certificates.good
    good = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    good.load_cert_chain(certificate, key)
    far = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    far.load_cert_chain(*certificates.pair("far", "redis.example"))
    query = f"/jobs?ssl_ca_certs={certificates.ca_file}"
    async with (
        answering(server(), tls=good) as master,
        answering(server(), tls=far) as impostor,
        answering(sentinel(master=(HERE, master)), tls=good) as honest,
        answering(sentinel(master=(HERE, impostor)), tls=good) as misled,
        answering(sentinel(master=(HERE, master)), tls=far) as posing,
    ):
        await opened(f"rediss+sentinel://{HERE}:{honest}{query}")
        with pytest.raises(StoreUnusable, match=f"the sentinel {HERE}:{posing}.*not valid for"):
            await opened(f"rediss+sentinel://{HERE}:{posing}{query}")
        with pytest.raises(StoreUnusable, match=f"the master {HERE}:{impostor}.*not valid for"):
            await opened(f"rediss+sentinel://{HERE}:{misled}{query}")
