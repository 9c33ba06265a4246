"""DICOMweb (PS3.18): QIDO-RS finds, WADO-RS retrieves. An answer is whole, within its time and size, or fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any

import requests
import urllib3
from dicomweb_client import DICOMwebClient
from pydicom import dcmwrite
from pydicom.uid import UID

from medtea.ingest.pacs.protocol import DeniedError, Instance, NotSentError, Receive, Series, UnavailableError
from medtea.ingest.pacs.settings import Dicomweb, Manners

STUDY, SERIES, INSTANCE, KIND = "0020000D", "0020000E", "00080018", "00080016"
MODALITY, BODY_PART, STUDY_SIZE = "00080060", "00180015", "00201208"
PAGE = 1_000
"""Studies asked for at a time; a server may give fewer."""
CHUNK = 1 << 18
BUSY, INTERNAL_ERROR = 429, 500
LONGEST_RETRY_AFTER = 3_600.0
NO_JSON = (
    "The server answers a search with something else than DICOM JSON. Check that url is its DICOMweb service and not a "
    "page for people."
)


class Connection:
    """One HTTP session with a hospital's DICOMweb service; see protocol.Connection."""

    def __init__(
        self, hospital: Dicomweb, manners: Manners, credentials: Mapping[str, str], pace: Callable[[], None]
    ) -> None:
        """Nothing is sent yet.

        Args:
            hospital: Whom to ask.
            manners: How patiently.
            credentials: "user" and "password", or "token", or nothing.
            pace: Called before every request; returns when it may be made.
        """
        self.hospital, self.manners, self._pace = hospital, manners, pace
        self._is_search = True
        self.session = requests.Session()
        # No proxy, no ~/.netrc, no other certificates by the environment's variables: what the settings say, holds.
        self.session.trust_env = False
        # Unpacked: a server would spend ten times longer on packing an image than on sending it.
        self.session.headers["Accept-Encoding"] = "identity"
        self.session.verify = str(hospital.ca_file) if hospital.ca_file else True
        if "token" in credentials:
            self.session.headers["Authorization"] = f"Bearer {credentials['token']}"
        elif credentials:
            self.session.auth = (credentials["user"].encode(), credentials["password"].encode())  # type: ignore[assignment]
        self.client = DICOMwebClient(
            hospital.url, session=self.session, callback=self._read_whole, timeout=manners.timeout_seconds
        )
        self.client.set_http_retry_params(retry=False)  # who calls us tries again, for both protocols alike

    def echo(self) -> None:
        """Search for one study of no matter whom."""
        self._search(self.client.search_for_studies, limit=1)

    def studies(self, keys: Mapping[str, str]) -> Iterator[tuple[str, int | None]]:
        """See the contract; page by page, until a page brings nothing new."""
        seen: set[str] = set()
        while True:
            rows = self._search(
                self.client.search_for_studies,
                search_filters=dict(keys),
                fields=["NumberOfStudyRelatedInstances"],
                limit=PAGE,
                offset=len(seen),
            )
            new = {uid: row for row in rows if (uid := _uid(row, STUDY)) not in seen}
            for uid, row in new.items():
                size = _value(row, STUDY_SIZE)
                yield uid, int(size) if size.isdecimal() else None
            seen |= set(new)
            if not new:
                return

    def series(self, study: str) -> list[Series]:
        """See the contract."""
        rows = self._search(self.client.search_for_series, study, fields=["Modality", "BodyPartExamined"])
        return [Series(_uid(row, SERIES), _value(row, MODALITY), _value(row, BODY_PART)) for row in rows]

    def instances(self, study: str, series: str) -> list[Instance]:
        """See the contract."""
        rows = self._search(self.client.search_for_instances, study, series, fields=["SOPClassUID"])
        return [Instance(study, series, _uid(row, INSTANCE), _value(row, KIND)) for row in rows]

    def retrieve(self, wanted: Instance, receive: Receive) -> None:
        """See the contract; the image comes in the transfer syntax that it is stored in."""
        self._is_search = False
        buffer = BytesIO()
        try:
            dataset = self._ask(self.client.retrieve_instance, wanted.study, wanted.series, wanted.uid)
            dcmwrite(buffer, dataset, enforce_file_format=True)
        except (UnavailableError, DeniedError, NotSentError):
            raise
        except Exception as problem:  # what is no DICOM makes pydicom and the client raise almost any kind
            raise NotSentError(f"What the server sent is no DICOM file ({type(problem).__name__}).") from None
        receive(buffer.getvalue())

    def close(self) -> None:
        """See the contract."""
        self.session.close()

    def _search(self, search: Callable[..., Any], *uids: str, **options: Any) -> list[dict[str, Any]]:
        self._is_search = True
        try:
            rows = self._ask(search, *uids, **options)
        except ValueError:  # no JSON
            raise DeniedError(NO_JSON) from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DeniedError(NO_JSON)
        return rows

    def _ask(self, method: Callable[..., Any], *arguments: str, **options: Any) -> Any:
        self._pace()
        try:
            return method(*arguments, **options)
        except requests.exceptions.SSLError as problem:
            if "CERTIFICATE_VERIFY_FAILED" not in str(problem):
                raise UnavailableError("The encrypted connection failed (SSLError).") from None
            raise DeniedError(
                "The server's certificate cannot be verified. If your hospital signs its own, name the authority's "
                "certificates by ca_file."
            ) from None
        except requests.exceptions.JSONDecodeError:
            raise DeniedError(NO_JSON) from None
        except requests.exceptions.Timeout:
            raise UnavailableError(f"No answer within {self.manners.timeout_seconds:g} s.") from None
        except requests.exceptions.RequestException as problem:
            raise UnavailableError(f"The connection failed ({type(problem).__name__}).") from None

    def _read_whole(self, response: requests.Response, *_: object, **__: object) -> None:
        """Called by requests with each answer, before anything of its body is read.

        Raises:
            UnavailableError: it is cut, too slow, too large, or the server says that it is busy.
            DeniedError: the server says no.
            NotSentError: it says that it does not have the image.
        """
        self._judge(response)
        data, most = bytearray(), self.manners.image_megabytes << 20
        deadline = time.monotonic() + self.manners.image_seconds
        try:
            while part := response.raw.read1(CHUNK, decode_content=True):
                data += part
                if len(data) > most:
                    raise NotSentError(f"The answer is larger than manners.image_megabytes ({most >> 20} MB).")
                if time.monotonic() > deadline:
                    raise UnavailableError(f"The answer was not whole within {self.manners.image_seconds:g} s.")
        except urllib3.exceptions.TimeoutError:
            raise UnavailableError(f"The answer paused for {self.manners.timeout_seconds:g} s.") from None
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise UnavailableError(f"The answer was cut ({type(problem).__name__}).") from None
        if not _is_closed(response.headers.get("Content-Type", ""), data):
            raise UnavailableError("The answer was cut: its last boundary is missing.")
        response._content, response._content_consumed = bytes(data), True

    def _judge(self, response: requests.Response) -> None:
        status = response.status_code
        if status in {401, 403}:
            raise DeniedError(self._who_we_are(status))
        if status == BUSY or status >= 500:
            is_answer = status == INTERNAL_ERROR
            said = f"The server answers HTTP {status}."
            raise UnavailableError(said, wait_seconds=_retry_after(response), is_answer=is_answer)
        if 300 <= status < 400:
            raise DeniedError(f"The server redirects (HTTP {status}). Write the address that it redirects to as url.")
        if status >= 400 and self._is_search:
            raise DeniedError(f"The server refuses the search (HTTP {status}). Check that url is its DICOMweb service.")
        if status >= 400:
            raise NotSentError(f"The server lists the image and does not send it (HTTP {status}).")

    def _who_we_are(self, status: int) -> str:
        named = [self.hospital.user_variable, self.hospital.password_variable, self.hospital.token_variable]
        variables = " and ".join(name for name in named if name)
        if not variables:
            return (
                f"The server asks who we are (HTTP {status}). Name the environment variables that hold user and "
                "password by user_variable and password_variable."
            )
        return f"The server does not take what {variables} hold (HTTP {status}). Set them anew, or ask for the right."


def _is_closed(content_type: str, data: bytearray) -> bool:
    """Whether a multipart answer has its last boundary; anything else is as long as it is."""
    kind, *options = (part.strip() for part in content_type.split(";"))
    boundary = next((one.partition("=")[2].strip('"') for one in options if one.lower().startswith("boundary=")), "")
    if kind.lower() != "multipart/related" or not boundary:
        return True
    return bytes(data[-len(boundary) - 64 :]).rstrip().endswith(f"--{boundary}--".encode())


def _retry_after(response: requests.Response) -> float:
    """Seconds, 0 where nothing or a date is said."""
    said = response.headers.get("Retry-After", "")
    return min(float(said), LONGEST_RETRY_AFTER) if said.isdecimal() else 0.0


def _value(row: Mapping[str, Any], tag: str) -> str:
    """The first value of an element as text, "" where there is none."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values and isinstance(values[0], str | int) else ""


def _uid(row: Mapping[str, Any], tag: str) -> str:
    uid = UID(_value(row, tag))
    if not uid.is_valid:
        raise DeniedError(NO_JSON)
    return str(uid)
