"""A web server on a real socket that serves a folder, and misbehaves on purpose."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Request:
    """One question, and the ways to answer it."""

    def __init__(
        self, handler: BaseHTTPRequestHandler, folder: Path, over: threading.Event
    ) -> None:
        self.name = handler.path.lstrip("/")
        self.over = over
        self._handler = handler
        path = folder / self.name
        self.data = path.read_bytes() if path.is_file() else b""
        match = _RANGE.fullmatch(handler.headers.get("Range", ""))
        self.span = (int(match[1]), int(match[2]) + 1) if match else None

    @property
    def part(self) -> bytes:
        return self.data[slice(*self.span)] if self.span else self.data

    def answer(
        self, body: bytes, status: int = 0, *, length: int | None = -1, **headers: str
    ) -> None:
        """Send a body; what is not said about it is what an honest server would say."""
        handler = self._handler
        handler.send_response(status or (206 if self.span else 200))
        if self.span and not status:
            first, stop = self.span
            known = f"bytes {first}-{stop - 1}/{len(self.data)}"
            headers.setdefault("Content_Range", known)
        if length is not None:
            handler.send_header("Content-Length", str(len(body) if length < 0 else length))
        else:
            handler.close_connection = True
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
        if length is not None and 0 <= length != len(body):
            handler.close_connection = True

    def answer_honestly(self) -> None:
        if self.data:
            self.answer(self.part)
        else:
            self.answer(b"", 404)

    def send_slowly(self, body: bytes) -> None:
        """A byte, and then nothing until the test is over."""
        self._handler.send_response(206)
        first, stop = self.span or (0, len(self.data))
        self._handler.send_header("Content-Range", f"bytes {first}-{stop - 1}/{len(self.data)}")
        self._handler.send_header("Content-Length", str(len(body)))
        self._handler.end_headers()
        self._handler.wfile.write(body[:1])
        self._handler.wfile.flush()
        self.over.wait()
        self._handler.close_connection = True

    def hang_up(self) -> None:
        self._handler.close_connection = True


Behaviour = Callable[[Request], None]


class WebServer:
    """Serves a folder until it is closed; every question is noted."""

    def __init__(
        self,
        folder: Path,
        behaviour: Behaviour = Request.answer_honestly,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.asked: list[str] = []
        self.behaviour = behaviour
        self._over = threading.Event()
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def do_GET(self) -> None:
                request = Request(self, folder, served._over)
                served.asked.append(request.name)
                served.behaviour(request)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
