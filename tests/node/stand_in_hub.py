"""A Hugging Face hub on this machine: the calls that an upload makes, and what it was given."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_a_token_of_the_tests"


class StandInHub:
    """What was uploaded, commit after commit; may refuse some of them."""

    def __init__(self) -> None:
        self.url = ""
        self.repos: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self.commits: list[tuple[str, dict[str, bytes]]] = []
        """The message and the files of each commit."""
        self.refusals = 0
        """How many commits are still to be refused."""


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: StandInHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        hub.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif "/preupload/" in self.path:
            self._answer({"files": [_mode(one) for one in json.loads(body)["files"]]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [self._place(one) for one in json.loads(body)["objects"]]
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._answer({"error": "no such page"}, 404)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == f"/objects/{hashlib.sha256(data).hexdigest()}"
        self.server.hub.stored[self.path.rpartition("/")[2]] = data
        self._answer({})

    def do_GET(self) -> None:
        self._answer({"id": self.path, "siblings": [], "sha": "0" * 40})

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted.get('organization', 'me')}/{wanted['name']}"
        if name in self.server.hub.repos:
            self._answer({"url": f"{self.server.hub.url}/{name}", "error": "it exists"}, 409)
            return
        self.server.hub.repos[name] = wanted
        self._answer({"url": f"{self.server.hub.url}/{name}"})

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        upload = {"href": f"{self.server.hub.url}/objects/{wanted['oid']}", "header": {}}
        return {**wanted, "actions": {"upload": upload}}

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        if self.server.hub.refusals:
            self.server.hub.refusals -= 1
            self._answer({"error": "this hub has a bad day"}, 403)
            return
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.hub.stored[value["oid"]]
        self.server.hub.commits.append((lines[0]["value"]["summary"], files))
        number = f"{len(self.server.hub.commits):040x}"
        self._answer(
            {"commitOid": number, "commitUrl": f"{self.server.hub.url}/me/model/commit/{number}"}
        )

    def _answer(self, values: dict[str, Any], code: int = 200) -> None:
        data = json.dumps(values).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if code >= 400:
            self.send_header("X-Error-Message", values.get("error", ""))
        self.end_headers()
        self.wfile.write(data)


def _mode(wanted: dict[str, Any]) -> dict[str, Any]:
    is_large = wanted["path"].endswith(".safetensors")
    mode = "lfs" if is_large else "regular"
    return {"path": wanted["path"], "uploadMode": mode, "shouldIgnore": False}


@contextmanager
def stand_in_hub() -> Iterator[StandInHub]:
    """A hub that listens while the block lasts."""
    hub = StandInHub()
    with _Server(hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
