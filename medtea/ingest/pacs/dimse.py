"""DIMSE (PS3.7): C-FIND finds, C-GET or C-MOVE retrieves, by the Study Root model (PS3.4 C.6.2)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind as Find,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet as Get,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelMove as Move,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Verification,
)

from medtea.ingest.pacs.protocol import (
    STORAGE_CLASSES,
    DeniedError,
    Instance,
    NotSentError,
    Receive,
    Series,
    UnavailableError,
)
from medtea.ingest.pacs.receiver import SYNTAXES, Arrival, Receiver, send_at_once
from medtea.ingest.pacs.settings import Dimse, Manners, Own

PENDING = (0xFF00, 0xFF01)
SUCCESS, SOME_FAILED, CANCELLED = 0x0000, 0xB000, 0xFE00
UNKNOWN_DESTINATION, CANNOT_PERFORM = 0xA801, 0xA702
UNSAID_SECONDS = 5.0
"""How long an image is waited for that the archive does not count as sent."""
REFUSALS = {0x0122: "it does not offer this service", 0x0124: "we are not authorized", 0xA900: "it cannot be matched"}
# PS3.8 9.3.4, of a permanent rejection by the service user
REJECTIONS = {
    3: "it does not know our AE title, own.ae_title: ask its administrator to enter it",
    7: "its own AE title is another one: check ae_title",
}


class Connection:
    """One association with a hospital's archive, opened when needed; see protocol.Connection."""

    def __init__(
        self, hospital: Dimse, own: Own, manners: Manners, receiver: Receiver, pace: Callable[[], None]
    ) -> None:
        """Nothing is sent yet.

        Args:
            hospital: Whom to ask.
            own: Who we are.
            manners: How patiently.
            receiver: Where images arrive; it listens already when they come by C-MOVE.
            pace: Called before every request; returns when it may be made.
        """
        self.hospital, self.own, self.manners, self.receiver, self._pace = hospital, own, manners, receiver, pace
        self._association: Association | None = None

    def echo(self) -> None:
        """C-ECHO."""
        status = self._ask(lambda association: association.send_c_echo())
        if _code(status) != SUCCESS:
            self._refused("C-ECHO", status)

    def studies(self, keys: Mapping[str, str]) -> Iterator[tuple[str, int | None]]:
        """See the contract."""
        asked = {**keys, "StudyInstanceUID": "", "NumberOfStudyRelatedInstances": None}
        for found in self._find("STUDY", asked):
            size = found.get("NumberOfStudyRelatedInstances")
            yield _uid(found, "StudyInstanceUID"), int(size) if size not in (None, "") else None

    def series(self, study: str) -> list[Series]:
        """See the contract."""
        asked = {"StudyInstanceUID": study, "SeriesInstanceUID": "", "Modality": "", "BodyPartExamined": ""}
        return [
            Series(_uid(found, "SeriesInstanceUID"), _text(found, "Modality"), _text(found, "BodyPartExamined"))
            for found in self._find("SERIES", asked)
        ]

    def instances(self, study: str, series: str) -> list[Instance]:
        """See the contract."""
        asked = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": "", "SOPClassUID": ""}
        return [
            Instance(study, series, _uid(found, "SOPInstanceUID"), _text(found, "SOPClassUID"))
            for found in self._find("IMAGE", asked)
        ]

    def retrieve(self, wanted: Instance, receive: Receive) -> None:
        """See the contract."""
        asked = Dataset()
        asked.QueryRetrieveLevel = "IMAGE"
        asked.StudyInstanceUID, asked.SeriesInstanceUID, asked.SOPInstanceUID = wanted.study, wanted.series, wanted.uid
        with self.receiver.expecting(wanted, receive) as arrival:
            if self.hospital.retrieve == "get":
                answers = self._ask(lambda association: association.send_c_get(asked, Get))
            else:
                answers = self._ask(lambda association: association.send_c_move(asked, self.own.ae_title, Move))
            self._judge(_last(answers), arrival)

    def close(self) -> None:
        """See the contract."""
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._association = None

    def drop(self) -> None:
        """See the contract."""
        if self._association is not None:
            self._association.abort()
        self._association = None

    def _find(self, level: str, keys: Mapping[str, str | None]) -> Iterator[Dataset]:
        asked = Dataset()
        asked.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(asked, keyword, value)
        if not all((value or "").isascii() for value in keys.values()):
            asked.SpecificCharacterSet = "ISO_IR 192"
        for status, found in self._ask(lambda association: association.send_c_find(asked, Find)):
            code = _code(status)
            if code in PENDING and found is not None:
                yield found
            elif code not in (SUCCESS, *PENDING):
                self._refused("C-FIND", status)

    def _judge(self, status: Dataset, arrival: Arrival) -> None:
        """What the final status of C-GET or C-MOVE means for the image."""
        name, code = f"C-{self.hospital.retrieve.upper()}", _code(status)
        if code == SUCCESS and self.hospital.retrieve == "move" and not self._await(arrival, status):
            raise UnavailableError(
                f"The archive says that {name} sent the image, and it did not arrive. {self._reach()}"
            )
        if arrival.problem is not None:
            raise arrival.problem
        if arrival.came.is_set():
            return
        if code == UNKNOWN_DESTINATION:
            raise DeniedError(
                f"The archive does not know where to send: ask its administrator to enter our AE title "
                f"'{self.own.ae_title}' with this machine's address and port {self.own.port}."
            )
        if code in (SUCCESS, SOME_FAILED, CANNOT_PERFORM):
            reason = f"The archive lists the image, and {name} does not send it. {self._reach()}".strip()
            if code == SUCCESS:
                raise NotSentError(reason)
            raise UnavailableError(
                reason, is_answer=True
            )  # a busy archive fails an image that it sends when asked again
        self._refused(name, status)

    def _await(self, arrival: Arrival, status: Dataset) -> bool:
        """Whether it came, or never was said to: some archives say that they are done before they are."""
        said = status.get("NumberOfCompletedSuboperations")
        patience = self.manners.timeout_seconds if said != 0 else min(UNSAID_SECONDS, self.manners.timeout_seconds)
        return arrival.came.wait(patience) or said == 0

    def _reach(self) -> str:
        """A hint where nothing has arrived so far."""
        if self.hospital.retrieve == "get" or self.receiver.was_reached:
            return ""
        return (
            f"Nothing has arrived at port {self.own.port} so far: is our AE title '{self.own.ae_title}' entered in the "
            "archive with this machine's address and that port, and can the archive reach it?"
        )

    def _refused(self, name: str, status: Dataset) -> NoReturn:
        code = _code(status)
        if code is None:
            self._association = None
            raise UnavailableError(
                f"{name} got no answer: the connection was lost, or took longer than timeout_seconds."
            )
        if code in REFUSALS:
            raise DeniedError(f"The archive refuses {name} (status {code:04X}H): {REFUSALS[code]}.")
        hint = self._reach() if name == "C-MOVE" else ""
        raise UnavailableError(f"The archive could not do {name} (status {code:04X}H). {hint}".strip(), is_answer=True)

    def _ask(self, request: Callable[[Association], Any]) -> Any:
        self._pace()
        association = self._associated()
        try:
            return request(association)
        except ValueError:  # no presentation context for it was accepted
            raise DeniedError(
                "The archive accepts the connection and not this service. Ask its administrator to allow our AE title "
                "to query and retrieve (Study Root)."
            ) from None
        except RuntimeError:  # the association ended since
            self._association = None
            raise UnavailableError("The archive ended the connection.") from None

    def _associated(self) -> Association:
        if self._association is not None and self._association.is_established:
            return self._association
        entity = AE(self.own.ae_title)
        entity.maximum_pdu_size = self.own.max_pdu
        entity.connection_timeout = entity.acse_timeout = self.manners.timeout_seconds
        entity.dimse_timeout = entity.network_timeout = self.manners.timeout_seconds
        is_get = self.hospital.retrieve == "get"
        store = self.receiver.handle_store
        association = entity.associate(
            self.hospital.host,
            self.hospital.port,
            contexts=_contexts(is_get),
            ae_title=self.hospital.ae_title,
            max_pdu=self.own.max_pdu,
            ext_neg=[build_role(kind, scp_role=True) for kind in sorted(STORAGE_CLASSES)] if is_get else None,
            evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once), *([(evt.EVT_C_STORE, store)] if is_get else [])],
            tls_args=self._tls(),
        )
        if not association.is_established:
            raise _not_associated(association)
        self._association = association
        return association

    def _tls(self) -> tuple[ssl.SSLContext, str] | None:
        if not self.hospital.tls:
            return None
        authority = str(self.hospital.ca_file) if self.hospital.ca_file else None
        return ssl.create_default_context(cafile=authority), self.hospital.host


def _contexts(is_get: bool) -> list[PresentationContext]:
    """Of C-GET, one per storage class and transfer syntax: an archive answers each with one syntax only."""
    services = [build_context(kind) for kind in (Verification, Find, Get if is_get else Move)]
    storage = [build_context(kind, syntax) for kind in sorted(STORAGE_CLASSES) for syntax in SYNTAXES]
    return [*services, *(storage if is_get else ())]


def _not_associated(association: Association) -> UnavailableError | DeniedError:
    if not association.is_rejected:
        return UnavailableError("The archive cannot be reached, or ended the connection. Check host and port, and tls.")
    primitive = association.acceptor.primitive
    result, reason = (primitive.result, primitive.diagnostic) if primitive is not None else (None, None)
    if result == 1:
        return DeniedError(f"The archive rejects us: {REJECTIONS.get(int(reason or 0), f'reason {reason}')}.")
    return UnavailableError("The archive rejects us for the moment.")


def _last(answers: Iterable[tuple[Dataset, Dataset | None]]) -> Dataset:
    """The final status; empty when the connection was lost."""
    last = Dataset()
    for status, _ in answers:
        last = status
    return last


def _code(status: Dataset) -> int | None:
    return int(status.Status) if "Status" in status else None


def _text(found: Dataset, keyword: str) -> str:
    return str(found.get(keyword) or "")


def _uid(found: Dataset, keyword: str) -> str:
    uid = UID(_text(found, keyword))
    if not uid.is_valid:
        raise DeniedError("The archive answers C-FIND without the UIDs that were asked for.")
    return str(uid)
