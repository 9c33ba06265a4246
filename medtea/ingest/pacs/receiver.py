"""Our storage SCP: takes, from the hospital being asked, the images that it was asked for, and nothing else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from socketserver import BaseServer
from typing import Any

from pydicom import uid as uids
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from medtea.core.errors import ConfigError
from medtea.ingest.pacs.protocol import STORAGE_CLASSES, Instance, NotSentError, Receive, UnavailableError
from medtea.ingest.pacs.settings import Dimse, Manners, Own

# Whatever medtea.data.pixels decodes, so that no archive has to convert; the plain ones first.
SYNTAXES = (
    uids.ExplicitVRLittleEndian,
    uids.ImplicitVRLittleEndian,
    uids.DeflatedExplicitVRLittleEndian,
    uids.ExplicitVRBigEndian,
    uids.RLELossless,
    uids.JPEGLSLossless,
    uids.JPEGLSNearLossless,
    uids.JPEG2000Lossless,
    uids.JPEG2000,
    uids.JPEGLossless,
    uids.JPEGLosslessSV1,
    uids.JPEGBaseline8Bit,
    uids.JPEGExtended12Bit,
    uids.HTJ2KLossless,
    uids.HTJ2KLosslessRPCL,
    uids.HTJ2K,
)
SUCCESS, NOT_AUTHORIZED, NO_RESOURCES, NOT_UNDERSTOOD = 0x0000, 0x0124, 0xA700, 0xC000  # PS3.7 C.5, PS3.4 B.2.3


@dataclass
class Arrival:
    """One image on its way: where it goes, whether it came, and what was wrong with it."""

    wanted: Instance
    receive: Receive
    came: threading.Event = field(default_factory=threading.Event)
    problem: Exception | None = None

    def take(self, data: bytes) -> int:
        """Hand the file on; the status for the sender."""
        try:
            self.receive(data)
        except NotSentError as problem:
            self.problem = problem
            return NOT_UNDERSTOOD
        except Exception as problem:  # raised again by the thread that waits; here it would only end the association
            self.problem = problem
            return NO_RESOURCES
        finally:
            self.came.set()
        return SUCCESS


class Receiver:
    """A listener for C-MOVE's images, while it is entered; for C-GET it only says what is expected."""

    def __init__(self) -> None:
        self.was_reached = False
        self._expected: dict[str, Arrival] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def expecting(self, wanted: Instance, receive: Receive) -> Iterator[Arrival]:
        """Within it this image is taken."""
        arrival = Arrival(wanted, receive)
        with self._lock:
            self._expected[wanted.uid] = arrival
        try:
            yield arrival
        finally:
            with self._lock:
                self._expected.pop(wanted.uid, None)

    def handle_store(self, event: evt.Event) -> int:
        """The handler of C-STORE: what nobody asked for is refused unread."""
        self.was_reached = True
        uid, kind = (str(getattr(event.request, f"AffectedSOP{what}UID")) for what in ("Instance", "Class"))
        with self._lock:
            arrival = self._expected.get(uid)
        if arrival is None or kind not in STORAGE_CLASSES:
            return NOT_AUTHORIZED
        return arrival.take(event.encoded_dataset())


class Listener(Receiver):
    """The port that a C-MOVE's images arrive at, open while it is entered."""

    def __init__(self, hospital: Dimse, own: Own, manners: Manners) -> None:
        super().__init__()
        self.hospital, self.own, self.manners = hospital, own, manners

    def __enter__(self) -> Listener:
        """Listen.

        Raises:
            ConfigError: the port cannot be had.
            UnavailableError: a host's name has no address.
        """
        entity = AE(self.own.ae_title)
        entity.maximum_pdu_size = self.own.max_pdu
        entity.require_called_aet = True
        entity.require_calling_aet = [self.hospital.ae_title, *self.hospital.sender_ae_titles]
        entity.maximum_associations = 4 * self.manners.parallel
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.manners.timeout_seconds
        for kind in sorted(STORAGE_CLASSES):
            entity.add_supported_context(kind, list(SYNTAXES))
        allowed = frozenset().union(*(addresses(host) for host in (self.hospital.host, *self.hospital.senders)))
        try:
            self._server: ThreadedAssociationServer = entity.make_server(
                (self.own.address, self.own.port),
                evt_handlers=[(evt.EVT_C_STORE, self.handle_store), (evt.EVT_CONN_OPEN, send_at_once)],
                server_class=_only_from(allowed),
            )
        except OSError as problem:
            raise ConfigError(
                f"own.port: port {self.own.port} of own.address cannot be listened at ({type(problem).__name__}). Is "
                "another program using it? The archive's administrator must know of a change."
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        BaseServer.shutdown(self._server)  # pynetdicom's own counts on having made the thread as well
        self._thread.join()
        self._server.server_close()
        for association in self._server.active_associations:
            association.abort()


def _only_from(allowed: frozenset[str]) -> type[ThreadedAssociationServer]:
    """A server to whom others than these addresses cannot even speak."""

    class OnlyFrom(ThreadedAssociationServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 (socketserver's)
            return plain(str(client_address[0])) in allowed

    return OnlyFrom


def send_at_once(event: evt.Event) -> None:
    """Handler of a new connection: no message waits for the one before it to be acknowledged (40 ms each)."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def addresses(host: str) -> frozenset[str]:
    """All addresses of a host.

    Raises:
        UnavailableError: the name has none.
    """
    try:
        return frozenset(plain(str(found[4][0])) for found in socket.getaddrinfo(host, None))
    except OSError:
        raise UnavailableError("The host's name has no address. Check host and senders, and the network.") from None


def plain(address: str) -> str:
    """An IPv4 address that comes as an IPv6 one, as IPv4."""
    return address.removeprefix("::ffff:")
