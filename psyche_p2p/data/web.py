"""Parts of files from a web server that need not be honest, in a bounded time.

Only what is certainly the answer to the question is taken: the right range of a file of the right
size, all of it, before the deadline. Whether the bytes are the right ones is for whoever asked.
"""

from __future__ import annotations

import http.client
import io
import re
import ssl
import threading
import time
from contextlib import ExitStack
from functools import cache
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

CONNECT_S = 10.0
ANSWER_S = 20.0
_MAX_REDIRECTS = 4
_TRY_AGAIN_LATER = frozenset({408, 425, 429})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class MirrorFailed(Exception):
    """Why a server's answer is none. `is_lasting`: asking again would not help."""

    def __init__(self, reason: str, *, is_lasting: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_lasting = is_lasting


class Mirror:
    """One folder on a web server; connections are kept and used again, from any thread."""

    def __init__(self, address: str, answer_s: float = ANSWER_S) -> None:
        self.address = address.rstrip("/") + "/"
        self._answer_s = answer_s
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()

    def get_range(self, name: str, start: int, size: int, file_bytes: int) -> bytes:
        """Bytes `start` to `start + size` of a file that has `file_bytes`."""
        answer = self._ask(name, {"Range": f"bytes={start}-{start + size - 1}"}, size)
        if answer.status == http.client.OK:
            if size != file_bytes:
                raise MirrorFailed("it does not serve parts of files", is_lasting=True)
        else:
            _require_range(answer.header("Content-Range"), start, size, file_bytes)
        if len(answer.body) != size:
            cause = f"it broke off after {len(answer.body)} of {size} bytes"
            raise MirrorFailed(cause, is_lasting=False)
        return answer.body

    def get_file(self, name: str, max_bytes: int) -> bytes:
        """A whole file of at most so many bytes."""
        return self._ask(name, {}, max_bytes).body

    def _ask(self, name: str, headers: dict[str, str], max_bytes: int) -> _Answer:
        deadline_s = time.monotonic() + self._answer_s
        url = urljoin(self.address, quote(name))
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                answer = self._ask_once(url, headers, max_bytes, deadline_s)
                if answer.status in (http.client.OK, http.client.PARTIAL_CONTENT):
                    return answer
                url = _redirected(url, answer)
        except TimeoutError as error:
            raise MirrorFailed(
                f"no whole answer within {self._answer_s:g} s", is_lasting=False
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise MirrorFailed(reason.splitlines()[0][:120], is_lasting=False) from error
        raise MirrorFailed(f"it redirects more than {_MAX_REDIRECTS} times", is_lasting=True)

    def _ask_once(
        self, url: str, headers: dict[str, str], max_bytes: int, deadline_s: float
    ) -> _Answer:
        while True:
            connection = self._take(url)
            with ExitStack() as undo:
                undo.callback(connection.close)
                try:
                    answer = connection.ask(url, headers, max_bytes, deadline_s)
                except ConnectionError:
                    if connection.was_used:  # the other side may have closed it long ago
                        continue
                    raise
                undo.pop_all()
            self._put_back(connection, answer)
            return answer

    def _put_back(self, connection: _Connection, answer: _Answer) -> None:
        if not answer.is_finished:
            connection.close()
            return
        with self._lock:
            self._idle.append(connection)

    def _take(self, url: str) -> _Connection:
        origin = _origin(url)
        with self._lock:
            for connection in self._idle:
                if connection.origin == origin:
                    self._idle.remove(connection)
                    return connection
        return _Connection(url)

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def __del__(self) -> None:
        self.close()


class _Answer:
    """What came back. `is_finished`: nothing of it is left in the connection."""

    def __init__(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self.status = response.status
        self.body = body
        self.is_finished = response.isclosed() and not response.will_close
        self._headers = response.headers

    def header(self, name: str) -> str:
        return self._headers.get(name) or ""


class _Connection:
    """One connection, on which every byte must come before a deadline."""

    def __init__(self, url: str) -> None:
        self.origin = _origin(url)
        self.was_used = False
        self._socket: _TimedSocket | None = None
        scheme, host, port = self.origin
        self._connection: http.client.HTTPConnection
        if scheme == "https":
            self._connection = http.client.HTTPSConnection(host, port, context=_trusted())
        else:
            self._connection = http.client.HTTPConnection(host, port)

    def ask(self, url: str, headers: dict[str, str], max_bytes: int, deadline_s: float) -> _Answer:
        connection = self._connection
        if self._socket is None:
            connection.timeout = max(0.001, min(CONNECT_S, deadline_s - time.monotonic()))
            connection.connect()
            self._socket = _TimedSocket(connection.sock)
            connection.sock = self._socket
        else:
            self.was_used = True
        self._socket.deadline_s = deadline_s
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path or "/", headers={"Accept-Encoding": "identity", **headers})
        response = connection.getresponse()
        try:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise MirrorFailed("it sends the file compressed", is_lasting=True)
            if response.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
                return _Answer(response, b"")
            return _Answer(response, _read(response, max_bytes))
        finally:
            response.close()

    def close(self) -> None:
        self._connection.close()


class _TimedSocket:
    """As much of a socket as http.client uses, with one deadline for all that is read.

    Like a real one it stays open while something reads from it: http.client closes the socket of an
    answer that ends with the connection before it reads that answer.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._users = 1
        self.deadline_s = 0.0

    def makefile(self, _mode: str) -> io.BufferedReader:
        self._users += 1
        return io.BufferedReader(_TimedReader(self))

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._left_s())
        self._sock.sendall(data)

    def receive_into(self, buffer: Any) -> int:
        self._sock.settimeout(self._left_s())
        return int(self._sock.recv_into(buffer))

    def close(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._sock.close()

    def _left_s(self) -> float:
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: _TimedSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._sock.receive_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._sock.close()
        super().close()


def _read(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """The body; more than was asked for is refused before it is read."""
    promised = response.length
    if promised is not None and promised > max_bytes:
        cause = f"it promises {promised} bytes, at most {max_bytes} were asked for"
        raise MirrorFailed(cause, is_lasting=True)
    try:
        body = response.read(max_bytes + 1 if promised is None else promised)
    except http.client.IncompleteRead as error:
        body = error.partial
    if len(body) > max_bytes:
        cause = f"it sends more than the {max_bytes} bytes that were asked for"
        raise MirrorFailed(cause, is_lasting=True)
    if promised is not None and len(body) < promised:
        cause = f"it broke off after {len(body)} of {promised} bytes"
        raise MirrorFailed(cause, is_lasting=False)
    return body


def _redirected(url: str, answer: _Answer) -> str:
    """Where a redirection leads; MirrorFailed for anything else that is no answer."""
    target = answer.header("Location")
    if not 300 <= answer.status < 400 or not target:
        is_lasting = 400 <= answer.status < 500 and answer.status not in _TRY_AGAIN_LATER
        raise MirrorFailed(f"status {answer.status}", is_lasting=is_lasting)
    target = urljoin(url, target)
    schemes = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
    if urlsplit(target).scheme not in schemes:
        shown = "".join(c if c.isprintable() else "?" for c in target[:80])
        raise MirrorFailed(f"it redirects to {shown}", is_lasting=True)
    return target


def _require_range(header: str, start: int, size: int, file_bytes: int) -> None:
    match = _CONTENT_RANGE.fullmatch(header)
    if not match:
        raise MirrorFailed("it does not say which part of the file it sends", is_lasting=True)
    first, last, total = match.groups()
    if total != "*" and int(total) != file_bytes:
        cause = f"its file has {total} bytes, the manifest says {file_bytes}"
        raise MirrorFailed(cause, is_lasting=True)
    if (int(first), int(last)) != (start, start + size - 1):
        cause = f"it sends bytes {first} to {last}, asked for {start} to {start + size - 1}"
        raise MirrorFailed(cause, is_lasting=True)


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port
