"""A real local server that misbehaves by script: each request takes the next fault, `None` answers properly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, dict[str, Any]], dict[str, Any] | tuple[int, dict[str, Any]]]
"""Path and body of a request (empty for GET) to the answer's body, after its status where that is not 200."""


@contextmanager
def faulty_server(answer: Answer, faults: Callable[[int], str | None]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address and requests seen; `faults(i)` is the fault of request i: status, `garbage`, `cut`, `drop`, `hang`."""
    seen: list[dict[str, Any]] = []
    lock = threading.Lock()
    end = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve({})

        def do_POST(self) -> None:
            self._serve(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _serve(self, body: dict[str, Any]) -> None:
            with lock:
                number = len(seen)
                seen.append({"path": self.path, "body": body, "authorization": self.headers.get("authorization")})
            self._reply(faults(number), body)

        def _reply(self, fault: str | None, body: dict[str, Any]) -> None:
            if fault in ("drop", "hang"):
                end.wait(None if fault == "hang" else 0)
                self.close_connection = True
                return
            answered = answer(self.path, body)
            status, found = answered if isinstance(answered, tuple) else (200, answered)
            content = json.dumps(found).encode()
            if fault == "garbage":
                status, content = 200, b"<html>"
            self.send_response(int(fault) if fault and fault.isdigit() else status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            if fault == "429":
                self.send_header("retry-after", "0.01")
            self.end_headers()
            if fault == "cut":
                self.close_connection = True
                content = content[: len(content) // 2]
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        end.set()
        server.shutdown()
        thread.join()
        server.server_close()
