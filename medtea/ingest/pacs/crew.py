"""Threads with a connection each: paced together, patient with what may pass, stopped by what will not."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_when_event_set
from tenacity.wait import wait_exponential

from medtea.ingest.pacs.protocol import Connection, UnavailableError
from medtea.ingest.pacs.settings import Manners

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 4
"""Items handed out per connection before the first one's result is taken."""


class Pace:
    """So many requests a second, over all threads."""

    def __init__(self, per_second: float) -> None:
        self._gap, self._next, self._lock = 1 / per_second, 0.0, threading.Lock()

    def __call__(self) -> None:
        """Return when the next request may be made."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
        time.sleep(turn - now)


class Crew:
    """Does the same with many items, each on a thread with a connection of its own."""

    def __init__(self, connect: Callable[[], Connection], manners: Manners) -> None:
        """Opens nothing yet.

        Args:
            connect: Makes a connection; it is closed by us.
            manners: How many at a time, and how patiently.
        """
        self._connect, self.manners = connect, manners
        self._mine = threading.local()
        self._all: list[Connection] = []
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(manners.parallel, thread_name_prefix="archive")

    def __enter__(self) -> Crew:
        """Nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what is under way, and close the connections."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for connection in self._all:
            connection.close()

    def map(self, work: Callable[[Connection, T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the items' order; the first exception ends it."""
        return self._in_order(lambda item: self._patiently(work, item), items)

    def _in_order(self, call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(self._pool.submit(call, item))
            if len(waiting) >= AHEAD * self.manners.parallel:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def try_each(self, work: Callable[[Connection, T], R], items: Iterable[T]) -> Iterator[R | UnavailableError]:
        """As `map`, but an item that failed to the end is given back as its failure while the archive still answers."""

        def tried(item: T) -> R | UnavailableError:
            try:
                return self._patiently(work, item)
            except UnavailableError as problem:
                self._now(lambda connection, _: connection.echo(), None)
                return problem

        return self._in_order(tried, items)

    def once(self, work: Callable[[Connection], R]) -> R:
        """One thing, as patiently."""
        return self._pool.submit(self._patiently, lambda connection, _: work(connection), None).result()

    def _patiently(self, work: Callable[[Connection, T], R], item: T) -> R:
        retrying = Retrying(
            stop=stop_after_attempt(self.manners.retries + 1) | stop_when_event_set(self._stop),
            wait=self._wait,
            retry=retry_if_exception_type(UnavailableError),
            sleep=self._pause,
            reraise=True,
        )
        result: R = retrying(self._now, work, item)
        return result

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _now(self, work: Callable[[Connection, T], R], item: T) -> R:
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = self._connect()
            self._all.append(connection)
        try:
            return work(connection, item)
        except UnavailableError:
            connection.close()  # the next try begins with a fresh one
            raise

    def _wait(self, state: RetryCallState) -> float:
        """Twice as long each time, and as long as the archive asks, but no longer than the longest."""
        manners = self.manners
        ours = wait_exponential(multiplier=manners.first_wait_seconds, max=manners.longest_wait_seconds)(state)
        problem = state.outcome.exception() if state.outcome is not None else None
        asked = problem.wait_seconds if isinstance(problem, UnavailableError) else 0.0
        return min(max(ours, asked), manners.longest_wait_seconds)
