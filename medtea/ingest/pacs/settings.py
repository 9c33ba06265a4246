"""What is asked of which hospital's archive, and how gently; no password stands in any setting."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from medtea.core.errors import ConfigError
from medtea.core.settings import VARIABLE, StrictSettings

HOSPITAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}")
ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_PDU = 1 << 20

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e]$")]
"""PS3.5: at most 16 characters of the default repertoire, without a backslash and not all spaces."""
Port = Annotated[int, Field(ge=1, le=65_535)]


class Query(StrictSettings):
    """Which images are wanted; what is not said does not restrict."""

    modality: tuple[Literal["CR", "DX"], ...] = Field(default=("CR", "DX"), min_length=1)
    """Modality (0008,0060) of the series."""
    since: date | None = None
    """First StudyDate (0008,0020), for instance 2019-01-31."""
    until: date | None = None
    """Last StudyDate, itself included."""
    body_part: tuple[str, ...] = ("CHEST",)
    """BodyPartExamined (0018,0015), whatever the case; a series that says none is wanted too. []: all."""
    listed_in: Path | None = None
    """A CSV with a column accession_number or patient_id, or both: only these. Its values are asked for and kept
    nowhere."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many images per hospital, for a first try."""

    @model_validator(mode="after")
    def _in_order(self) -> Query:
        if self.since and self.until and self.since > self.until:
            raise ValueError("since comes after until, so that no study is asked for; swap them")
        return self


class Dicomweb(StrictSettings):
    """A hospital that is asked by DICOMweb: QIDO-RS finds, WADO-RS retrieves."""

    protocol: Literal["dicomweb"]
    url: str
    """Where the DICOMweb service is, https://host/dicom-web; no user and no password in it."""
    user_variable: str | None = None
    """Name of the environment variable that holds the user's name, PACS_USER; with password_variable."""
    password_variable: str | None = None
    """Name of the environment variable that holds the password."""
    token_variable: str | None = None
    """Name of the environment variable that holds a bearer token, in the place of user and password."""
    ca_file: Path | None = None
    """Certificates of the authority that signed the server's, as PEM; by default those of the system's Python."""
    unencrypted: bool = False
    """Send user and password although the URL is http:// and leaves this machine."""
    query: Query | None = None
    """This hospital's own query in the place of the common one."""

    @field_validator("url", mode="before")
    @classmethod
    def _plain(cls, url: object) -> object:
        # Not a ValueError: its message would quote the URL, and so the password in it.
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is not None and ("@" in parts.netloc or parts.query or parts.fragment):
            raise ConfigError(
                "A hospital's url holds a user, a password, a query or a fragment. Leave it out, and name the "
                "environment variables that hold user and password by user_variable and password_variable."
            )
        return url

    @field_validator("url")
    @classmethod
    def _complete(cls, url: str) -> str:
        parts = urlsplit(url)
        if not VARIABLE.search(url) and not (parts.scheme in {"http", "https"} and parts.hostname):
            raise ValueError("a DICOMweb service is named by http:// or https:// and a host")
        return url.rstrip("/")

    @field_validator("user_variable", "password_variable", "token_variable", mode="before")
    @classmethod
    def _is_a_name(cls, name: object) -> object:
        if isinstance(name, str) and not ENVIRONMENT_NAME.fullmatch(name):
            raise ConfigError(  # nor is this quoted: it may be the password itself
                "user_variable, password_variable and token_variable hold the name of an environment variable, in "
                "capital letters (PACS_PASSWORD), never the value. Set the variable, and write its name here."
            )
        return name

    @model_validator(mode="after")
    def _credentials(self) -> Dicomweb:
        if (self.user_variable is None) != (self.password_variable is None):
            raise ValueError("user_variable and password_variable go together")
        if self.user_variable and self.token_variable:
            raise ValueError("token_variable stands in the place of user_variable and password_variable")
        return self

    @property
    def address(self) -> str:
        """What tells this archive from others."""
        return self.url


class Dimse(StrictSettings):
    """A hospital that is asked by DIMSE: C-FIND finds; C-GET retrieves, or C-MOVE to a port of ours."""

    protocol: Literal["dimse"]
    host: str = Field(min_length=1)
    port: Port = 104
    ae_title: AeTitle
    """The archive's AE title."""
    retrieve: Literal["get", "move"] = "get"
    """get: the images come back on the association that we open. move: the archive opens one to own.port."""
    senders: tuple[str, ...] = ()
    """Further hosts that a C-MOVE's images may come from, where the archive has several."""
    sender_ae_titles: tuple[AeTitle, ...] = ()
    """Further AE titles that they may call themselves by."""
    tls: bool = False
    """DICOM over TLS, with the server's certificate verified; only with retrieve: get."""
    ca_file: Path | None = None
    """As for DICOMweb."""
    query: Query | None = None
    """This hospital's own query in the place of the common one."""

    @model_validator(mode="after")
    def _tls_needs_get(self) -> Dimse:
        if self.tls and self.retrieve == "move":
            raise ValueError("tls goes with retrieve: get, since the port that C-MOVE sends to speaks no TLS")
        if self.ca_file and not self.tls:
            raise ValueError("ca_file is for tls: true")
        return self

    @property
    def address(self) -> str:
        """What tells this archive from others."""
        return f"{self.ae_title}@{self.host}:{self.port}"


Hospital = Annotated[Dicomweb | Dimse, Field(discriminator="protocol")]


class Own(StrictSettings):
    """How we present ourselves in DIMSE; the administrator of the archive enters the same."""

    ae_title: AeTitle = "MEDTEA"
    address: str = "0.0.0.0"
    """The address of this machine that a C-MOVE's images arrive at; 0.0.0.0 is all of them. Only the hospital being
    asked may connect, and only while it is asked."""
    port: Port = 11_112
    max_pdu: int = Field(default=65_536, ge=4_096, le=LARGEST_PDU)
    """Largest message part that we accept, bytes."""


class Manners(StrictSettings):
    """How gently and how patiently a hospital is asked."""

    requests_per_second: float = Field(default=20, gt=0, le=10_000)
    """Of each hospital: searches and retrievals together."""
    parallel: int = Field(default=2, ge=1, le=32)
    """Connections to a hospital at a time."""
    timeout_seconds: float = Field(default=60, gt=0)
    """Without an answer for so long, a request has failed."""
    image_seconds: float = Field(default=600, gt=0)
    """An image that takes longer than this in all has failed."""
    image_megabytes: int = Field(default=512, ge=1)
    """A larger answer is broken off."""
    retries: int = Field(default=4, ge=0, le=20)
    """Further tries after a failure that may pass: no connection, a time-out, HTTP 429 or 5xx, a cut answer."""
    first_wait_seconds: float = Field(default=1, ge=0)
    """Before the first further try; it doubles with each."""
    longest_wait_seconds: float = Field(default=60, ge=0)
    """No wait is longer."""
