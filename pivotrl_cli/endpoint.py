"""A client for OpenAI-compatible servers: bounded concurrency, retries with backoff, errors as values.

What a busy or broken server does (429, 5xx, dropped connections, bodies that are not JSON) is tried again and counted;
what it refuses for good (other 4xx) is not, nor is a server that has never answered. A request that never succeeds
comes back as a `Reply` with its error. The key comes from the environment and appears nowhere else: where a server
repeats it in an error, it is cut out.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from pivotrl_cli.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_CONNECT_SECONDS = 10.0
_LONGEST_ERROR = 300
_WAKE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """Where a server is and how hard to press it."""

    base_url: str
    """Address up to and including `/v1`."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a server on this machine needs none."""
    timeout: float = 120.0
    """Request timeout in seconds."""
    max_retries: int = 5
    """Retries per request on transient errors."""
    concurrency: int = 16
    """Requests under way at once."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The parsed body of a response, or an error."""

    body: dict[str, Any] | None
    error: str | None = None
    n_retries: int = 0
    status: int | None = None
    """HTTP status of a refusal."""


class Endpoint:
    """One server; use as a context manager.

    Example: `with Endpoint(EndpointSettings(base_url="http://127.0.0.1:8000/v1")) as server: server.post(...)`
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._key = _key(settings.key_variable)
        self._answered = False
        try:
            address = httpx2.URL(settings.base_url.rstrip("/") + "/")
            if address.scheme not in ("http", "https") or not address.host:
                raise ValueError("no scheme or host")
            self.address = f"{address.scheme}://{address.netloc.decode()}{address.path.rstrip('/')}"
            self._client = httpx2.Client(
                base_url=address,
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=httpx2.Timeout(settings.timeout, connect=min(settings.timeout, _CONNECT_SECONDS)),
                limits=httpx2.Limits(max_connections=settings.concurrency),
            )
            self.close = weakref.finalize(self, self._client.close)
        except (httpx2.InvalidURL, ValueError) as error:
            raise ConfigError(f"{settings.base_url}: not an address", "write http://HOST:PORT/v1") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, path: str) -> Reply:
        """One question without a body, tried again while that may help."""
        return self._send("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Reply:
        """One request, tried again while that may help."""
        return self._send("POST", path, body)

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Reply:
        for attempt in range(self.settings.max_retries + 1):
            reply, may_pass, wait = self._try(method, path, body)
            if reply.error is None:
                return replace(reply, n_retries=attempt)
            if not may_pass or attempt == self.settings.max_retries:
                return replace(reply, error=self._without_key(reply.error), n_retries=attempt)
            time.sleep(wait if wait is not None else _backoff(attempt))
        raise AssertionError("unreachable")

    def _try(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[Reply, bool, float | None]:
        """One attempt: the reply, whether its error may pass, and the wait that the server asks for."""
        try:
            response = self._client.request(method, path, json=body)
        except httpx2.HTTPError as error:
            absent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout) and not self._answered
            return Reply(None, f"{type(error).__name__}: {error}"), not absent, None
        self._answered = True
        status = response.status_code
        if status >= 400:
            may_pass = status in (408, 409, 429) or status >= 500
            return Reply(None, f"HTTP {status}: {_words(response)}", status=status), may_pass, _asked_wait(response)
        try:
            parsed = response.json()
        except (ValueError, RecursionError):
            return Reply(None, f"the answer is not JSON: {response.text[:80]!r}"), True, None
        if not isinstance(parsed, dict):
            return Reply(None, "the answer is not a JSON object"), True, None
        if parsed.get("error"):  # some proxies say so with status 200
            return Reply(None, f"the answer is an error: {_words(response)}"), True, None
        return Reply(parsed), False, None

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def in_parallel(function: Callable[[T], R], items: Iterable[T], concurrency: int) -> Iterator[R]:
    """`map`, with at most `concurrency` calls under way, and results as they come.

    A new call starts when a result is taken, so a slow reader holds the calls back. The threads are daemons: whoever
    stops reading need not wait for an answer that may take minutes.
    """
    results: SimpleQueue[tuple[R | None, BaseException | None]] = SimpleQueue()
    rest, under_way = iter(items), 0

    def work(item: T) -> None:
        try:
            results.put((function(item), None))
        except BaseException as error:  # raised again where the results are read
            results.put((None, error))

    def start(n: int) -> int:
        started = [threading.Thread(target=work, args=(item,), daemon=True) for item in islice(rest, n)]
        for thread in started:
            thread.start()
        return len(started)

    under_way = start(concurrency)
    while under_way:
        try:
            result, error = results.get(timeout=_WAKE_SECONDS)
        except Empty:  # a wait without end can miss an interrupt
            continue
        if error is not None:
            raise error
        under_way += start(1) - 1
        yield result  # type: ignore[misc]


def _key(variable: str) -> str:
    """The key in the environment; empty where there is none."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{variable}: the key has characters that no header can carry", "set it again")
    return key


def _words(response: httpx2.Response) -> str:
    """What the server says is wrong, in one line: the message of an OpenAI-style error, else all it says."""
    words: Any = response.text
    try:
        body = response.json()
        error = body.get("error", body)
        words = error if isinstance(error, str) else error["message"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # not in that style
    return " ".join(str(words).split())[:_LONGEST_ERROR]


def _backoff(attempt: int) -> float:
    """Seconds before the next try: doubling, with jitter so that clients do not come back together."""
    return min(_FIRST_WAIT * 2.0**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1.0)


def _asked_wait(response: httpx2.Response) -> float | None:
    """Seconds; a date is not followed, because the two clocks need not agree."""
    try:
        seconds = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return min(seconds, _LONGEST_WAIT) if seconds >= 0.0 else None  # neither below 0 nor NaN can be slept
