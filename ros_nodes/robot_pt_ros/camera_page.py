"""A page with the live cameras on this machine's own address: no window system needed, and SSH can forward it. No ROS here."""

from __future__ import annotations

import os
import threading
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from robot_pt.errors import UserError

HOST = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost")
_BOUNDARY = "robot-pt-frame"
_SILENT_S = 1.0


class CameraPage:
    """Give it JPEGs with `show`; a browser sees the newest of each camera. Raises UserError where the port is taken."""

    def __init__(self, port: int):
        self._frames: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self.closed = False
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Requests are no news."""

        try:
            self._server = ThreadingHTTPServer((HOST, port), Handler)
        except OSError as error:
            raise UserError(
                f"the camera window cannot use port {port} ({error.strerror}); set window_port to another, 0 takes any."
            ) from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="camera-page", daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/"

    def open(self) -> None:
        """Show it in the browser of this desktop, if there is one."""
        if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(self.address)

    def show(self, camera: str, jpeg: bytes) -> None:
        """The newest frame of a camera."""
        with self._changed:
            self._frames[camera] = jpeg
            self._changed.notify_all()

    def close(self) -> None:
        self.closed = True
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """The page, or the frames of one camera until the browser leaves. Other sites may not ask through the browser."""
        if request.headers.get("Host", "").rsplit(":", 1)[0] not in _HOSTS:
            request.send_error(403)
        elif request.path == "/":
            self._send_page(request)
        elif request.path.removeprefix("/camera/") in self._frames:
            try:
                self._send_frames(request, request.path.removeprefix("/camera/"))
            except OSError:
                return  # the browser left
        else:
            request.send_error(404)

    def _send_page(self, request: BaseHTTPRequestHandler) -> None:
        figures = "".join(
            f'<figure><img src="/camera/{name}" alt="{name}"><figcaption>{name}</figcaption></figure>'
            for name in sorted(self._frames)
        )
        again = "" if figures else '<meta http-equiv="refresh" content="1">'
        style = "body{background:#111;color:#ddd;font-family:sans-serif;display:flex;flex-wrap:wrap}img{min-width:40vw}"
        body = (
            f"<!doctype html><title>cameras</title>{again}<style>{style}</style>{figures or 'no frames yet'}".encode()
        )
        request.send_response(200)
        request.send_header("Content-Type", "text/html; charset=utf-8")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _send_frames(self, request: BaseHTTPRequestHandler, camera: str) -> None:
        request.send_response(200)
        request.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        request.end_headers()
        sent: bytes | None = None
        while not self.closed:
            with self._changed:
                if self._frames[camera] is sent:
                    self._changed.wait(_SILENT_S)
                jpeg = self._frames[camera]
            if jpeg is not sent:
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                request.wfile.write(head.encode() + jpeg + b"\r\n")
                sent = jpeg
