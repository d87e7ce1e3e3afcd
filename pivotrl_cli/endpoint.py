"""A client for OpenAI-compatible servers: bounded concurrency, retries with backoff, errors as values.

What a busy or broken server does (429, 5xx, dropped connections, bodies that are not JSON) is tried again and counted;
what it refuses for good (other 4xx) is not. A request that never succeeds comes back as a `Reply` with its error. The
key comes from the environment and appears nowhere else.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from pivotrl_cli.errors import ConfigError

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """Where a server is and how hard to press it."""

    base_url: str
    """Address up to and including `/v1`."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a server on this machine needs none."""
    timeout: float = 120.0
    """Seconds until an answer must have come."""
    max_retries: int = 5
    """Further tries after a failure that may pass."""
    concurrency: int = 16
    """Requests under way at once."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one request: the parsed body, or an error."""

    body: dict[str, Any] | None
    error: str | None = None
    n_retries: int = 0


class Endpoint:
    """One server; use as a context manager.

    Example: `with Endpoint(EndpointSettings(base_url="http://127.0.0.1:8000/v1")) as server: server.post(...)`
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        key = os.environ.get(settings.key_variable)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._client = httpx2.Client(
                base_url=settings.base_url.rstrip("/") + "/",
                headers=headers,
                timeout=settings.timeout,
                limits=httpx2.Limits(max_connections=settings.concurrency),
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise ConfigError(f"{settings.base_url}: not an address", "write http://HOST:PORT/v1") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def post(self, path: str, body: dict[str, Any]) -> Reply:
        """One request, tried again while that may help."""
        for attempt in range(self.settings.max_retries + 1):
            reply, may_pass, wait = self._try(path, body)
            if reply.error is None or not may_pass or attempt == self.settings.max_retries:
                return Reply(reply.body, reply.error, attempt)
            time.sleep(wait if wait is not None else _backoff(attempt))
        raise AssertionError("unreachable")

    def post_all(self, path: str, bodies: Iterable[dict[str, Any]]) -> Iterator[Reply]:
        """Many requests, at most `concurrency` at once; replies in order."""
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            yield from pool.map(lambda body: self.post(path, body), bodies)

    def _try(self, path: str, body: dict[str, Any]) -> tuple[Reply, bool, float | None]:
        """One attempt: the reply, whether its error may pass, and the wait that the server asks for."""
        try:
            response = self._client.post(path, json=body)
        except httpx2.HTTPError as error:
            return Reply(None, f"{type(error).__name__}: {error}"), True, None
        if response.status_code >= 400:
            may_pass = response.status_code in (408, 409, 429) or response.status_code >= 500
            return Reply(None, f"HTTP {response.status_code}: {response.text[:200]}"), may_pass, _asked_wait(response)
        try:
            parsed = response.json()
        except ValueError:
            return Reply(None, f"the answer is not JSON: {response.text[:80]!r}"), True, None
        if not isinstance(parsed, dict):
            return Reply(None, "the answer is not a JSON object"), True, None
        return Reply(parsed), False, None


def _backoff(attempt: int) -> float:
    """Seconds before the next try: doubling, with jitter so that clients do not come back together."""
    return min(_FIRST_WAIT * 2.0**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1.0)


def _asked_wait(response: httpx2.Response) -> float | None:
    try:
        return min(float(response.headers["retry-after"]), _LONGEST_WAIT)
    except (KeyError, ValueError):
        return None
