"""The same ingest on more than one machine: a Dask cluster does the jobs of the worker processes.

Each of its workers opens a file as this machine would: in a process of its own, within the same limits. The folders of
the source lie under the same path on all machines. The index is the same as that of one machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from medtea.core.errors import ConfigError
from medtea.ingest.code import code
from medtea.ingest.worker import PASSING
from medtea.ingest.workers import Job, Limits, LocalPool, Reply

AHEAD = 3
"""Jobs under way for each thread of the cluster, so that none waits for the network."""
PATIENCE_SECONDS = 20


def one(task: str, job: Job, limits: Limits) -> Reply:
    """Do one job on the machine where this is called."""
    with LocalPool(limits) as pool:
        ((_, reply),) = pool.do(task, [job])
    return reply


class ClusterPool:
    """See `medtea.ingest.workers.Pool`."""

    def __init__(self, address: str, limits: Limits) -> None:
        """Join the cluster.

        Args:
            address: Its scheduler's, tcp://... or tls://...
            limits: Of each file; how many are opened at a time is the cluster's own affair.

        Raises:
            ConfigError: Dask is not installed, nobody answers, or there are no workers with this code.
        """
        try:
            import distributed
        except ImportError:
            raise ConfigError("ingest.cluster: Dask is not installed. pip install 'medtea[cluster]'") from None
        try:
            self._client: Any = distributed.Client(address, timeout=PATIENCE_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as problem:
            raise ConfigError(
                f"ingest.cluster: no scheduler answers there ({type(problem).__name__}). Start one with "
                "`dask scheduler` and on each machine `dask worker ADDRESS`, or leave the setting out."
            ) from None
        self._as_completed = distributed.as_completed
        self._limits = Limits(1, limits.seconds_per_file, limits.memory_per_file_mb)
        self._check()

    def __enter__(self) -> ClusterPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def do(self, task: str, jobs: Iterable[Job]) -> Iterator[tuple[int, Reply]]:
        """See `Pool`. A job whose machine goes away is done by another; after three of them it is given up."""
        waiting = enumerate(jobs)
        numbers: dict[Any, int] = {}

        def more(count: int) -> list[Any]:
            some = list(itertools.islice(waiting, count))
            futures = [self._client.submit(one, task, dict(job), self._limits, pure=False) for _, job in some]
            numbers.update(zip(futures, (number for number, _ in some), strict=True))
            return futures

        # The loop is named: of no jobs at all, Dask would look for a client by default, which ours is not.
        under_way = self._as_completed(more(AHEAD * self._threads()), loop=self._client.loop)
        try:
            for future in under_way:
                yield numbers.pop(future), _reply_of(future)
                under_way.update(more(1))
        finally:
            for future in numbers:
                future.cancel()

    def _threads(self) -> int:
        return max(1, sum(int(threads) for threads in self._client.nthreads().values()))

    def _check(self) -> None:
        theirs = self._client.run(code)
        if not theirs:
            self._client.close()
            raise ConfigError("ingest.cluster: the scheduler has no workers. Start some: `dask worker ADDRESS`.")
        if set(theirs.values()) != {code()}:
            self._client.close()
            raise ConfigError(
                "ingest.cluster: a worker has another version of medtea or of a decoder. Install the same ones, with "
                "constraints.txt, on all machines."
            )


def _reply_of(future: Any) -> Reply:
    problem = future.exception()
    if problem is None:
        reply: Reply = future.result()
        return reply
    kind = type(problem).__name__
    return Reply(
        {}, refused=f"The cluster gave the file up ({kind}). Start again to have it tried again.", kind=PASSING
    )
