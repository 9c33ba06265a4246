"""A first look: does each hospital answer, and how much does the query match? Nothing is received."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medtea.ingest.pacs.cache import Shelf, file_name
from medtea.ingest.pacs.fetch import Archive, find_instances, find_studies
from medtea.ingest.pacs.protocol import Connection, DeniedError, Instance, UnavailableError, quiet

LOOKED_INTO = 5
"""Studies whose series and images are searched for too, since an archive may allow the one and not the other."""


@dataclass(frozen=True)
class Answer:
    """What one hospital answered.

    Attributes:
        hospital: Its name.
        protocol: How it was asked.
        answers: Whether it answered at all and knows us.
        studies: How many match; None where the search failed.
        instances: How many instances those have in all, of whatever kind, as far as the archive says; None where not.
        looked_into: Of how many studies the images were listed.
        wanted: How many images of these the query wants.
        received: Images that are in the cache already, of all that this query has listed before.
        problem: What is wrong, "" if nothing.
    """

    hospital: str
    protocol: str
    answers: bool = False
    studies: int | None = None
    instances: int | None = None
    looked_into: int = 0
    wanted: int = 0
    received: int = 0
    problem: str = ""


def look(archive: Archive, cache: Path) -> Answer:
    """Echo, count the studies, and list the images of the first few.

    Raises:
        ConfigError: a setting is wrong.
    """
    shelf = Shelf(cache, archive.name, archive.digest)
    here = shelf.received()
    received = sum(file_name(one.uid) in here for one, _ in shelf.wanted())
    answer = Answer(archive.name, archive.hospital.protocol, received=received)
    with quiet(), ExitStack() as stack:
        try:
            crew = archive.crew(stack)
            crew.once(_echo)
            answer = replace(answer, answers=True)
            studies = crew.once(partial(find_studies, archive))
            some = sorted(studies)[:LOOKED_INTO]
            listed: list[Instance] = []
            for found in crew.map(partial(find_instances, query=archive.query), some):
                listed += found
        except (UnavailableError, DeniedError) as problem:
            return replace(answer, problem=str(problem))
    sizes = [size for size in studies.values() if size is not None]
    return replace(
        answer,
        studies=len(studies),
        instances=sum(sizes) if len(sizes) == len(studies) else None,
        looked_into=len(some),
        wanted=len(listed),
        problem="" if studies else "The query matches no study: check its days, and what the archive lets us see.",
    )


def _echo(connection: Connection) -> None:
    connection.echo()
