"""A forge on this machine: the three APIs as far as they are used, and a repository that git fetches over HTTP."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.pushes.remote import Working

# Paths of one comment or of all, of a pull request, and of a commit's status, in any of the three forms.
COMMENT = re.compile(r"/(?:issues/comments|notes)/(\d+)$")
COMMENTS = re.compile(r"/(?:issues|merge_requests)/(\d+)/(?:comments|notes)$")
PULL = re.compile(r"/(?:pulls|merge_requests)/(\d+)$")
STATUS = re.compile(r"/statuses/([0-9a-f]+)$")


class StandIn:
    """`pulls` are what its API answers; `comments`, `statuses` and `tokens` what it was told."""

    def __init__(self, folder: Path, repository: str = "ada/shop") -> None:
        self.repository, self.folder = repository, folder
        self.work = Working(folder / "work")
        self.bare = folder / f"{repository}.git"
        self.bare.parent.mkdir(parents=True)
        self.work.git("clone", "-q", "--bare", str(self.work.folder), str(self.bare))
        self.pulls: dict[int, Any] = {}
        self.comments: dict[int, tuple[int, str]] = {}
        self.statuses: list[tuple[str, str, str]] = []
        self.tokens: set[str] = set()
        self.away = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self, None)

            def do_POST(self) -> None:
                outer.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            do_PATCH = do_PUT = do_POST

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def commit(self, branch: str, ref: str = "", **files: str) -> str:
        """A commit on a branch of the work tree, pushed to `ref` of the forge, as it publishes its refs."""
        self.work.git("switch", "-q", "-C", branch)
        made = self.work.commit(**files)
        self.work.git("push", "-q", "--force", str(self.bare), f"HEAD:{ref or f'refs/heads/{branch}'}")
        self.work.git("--git-dir", str(self.bare), "update-server-info")
        return made

    def answer(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        if self.away:
            return self._send(request, 502, b"")
        path = request.path.partition("?")[0]
        if path.startswith(f"/{self.repository}.git/"):
            file = self.folder / path.lstrip("/")
            return self._send(request, 200, file.read_bytes()) if file.is_file() else self._send(request, 404, b"")
        self.tokens.add(request.headers.get("Authorization") or request.headers.get("PRIVATE-TOKEN") or "")
        status, said = self._api(path, body)
        return self._send(request, status, json.dumps(said).encode())

    def _api(self, path: str, body: Any) -> tuple[int, Any]:
        if found := PULL.search(path):
            pull = self.pulls.get(int(found[1]))
            return (200, pull) if pull is not None else (404, {"message": "Not Found"})
        if found := STATUS.search(path):
            self.statuses.append((found[1], body["state"], body.get("target_url", "")))
            return 201, {}
        if (found := COMMENT.search(path)) and body is not None:
            if int(found[1]) not in self.comments:
                return 404, {"message": "Not Found"}
            self.comments[int(found[1])] = (self.comments[int(found[1])][0], body["body"])
            return 200, {"id": int(found[1])}
        if found := COMMENTS.search(path):
            id = len(self.comments) + 100
            self.comments[id] = (int(found[1]), body["body"])
            return 201, {"id": id}
        return 404, {"message": path}

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
