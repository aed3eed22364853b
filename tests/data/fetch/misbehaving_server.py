"""A web server on the loopback that misbehaves as told: what real ones do to a long download."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """answers: path → what each request gets, in turn; the last one stays. requests: (path, Range header) of each."""

    def __init__(self, url: str) -> None:
        self.url, self.answers, self.requests = url, {}, []

    def ranges(self, path: str) -> list[str | None]:
        return [asked for where, asked in self.requests if where == path]


def whole(body: bytes, *, ranges: bool = True, cut: int | None = None) -> Answer:
    """The body, or the range of it that is asked for; the connection closes after ``cut`` bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range") if ranges else None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(body) and asked:
            return status(416)(handler)
        handler.send_response(206 if asked else 200)
        if asked:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start:][:cut])
        handler.close_connection = True
        return None

    return answer


def endless(body: bytes) -> Answer:
    """No length announced: the end of the connection is the end of the file, or not."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


def stalled(body: bytes, sent: int, go_on: threading.Event) -> Answer:
    """The first bytes, and the rest when ``go_on`` is set, at the latest after 20 seconds."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:sent])
        handler.wfile.flush()
        go_on.wait(20)
        handler.wfile.write(body[sent:])

    return answer


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def serve() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            played.requests.append((path, self.headers.get("Range")))
            script = played.answers.get(path, [status(404)])
            answer = script.pop(0) if len(script) > 1 else script[0]
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        played = Server(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield played
        finally:
            server.shutdown()
