"""A real local server that misbehaves by script: each request takes the next fault, `None` answers properly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, dict[str, Any]], dict[str, Any]]


@contextmanager
def faulty_server(answer: Answer, faults: Callable[[int], str | None]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address and requests seen; `faults(i)` is the fault of request i: a status code, `garbage`, `cut` or `drop`."""
    seen: list[dict[str, Any]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(seen)
                seen.append({"path": self.path, "body": body, "authorization": self.headers.get("authorization")})
            self._reply(faults(number), body)

        def _reply(self, fault: str | None, body: dict[str, Any]) -> None:
            if fault == "drop":
                self.close_connection = True
                return
            content = b"<html>" if fault == "garbage" else json.dumps(answer(self.path, body)).encode()
            self.send_response(int(fault) if fault and fault.isdigit() else 200)
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
        server.shutdown()
        thread.join()
        server.server_close()
