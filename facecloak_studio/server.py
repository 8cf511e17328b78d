"""The studio's page and what it asks, on this machine only: no other host, no other site, nothing on disk."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import parse_qs, urlsplit

from enroll_service.pipeline import Strength
from facecloak import __version__
from facecloak.errors import FaceCloakError, InvalidInput
from facecloak.limits import MAX_PHOTO_BYTES
from facecloak_studio import answers
from facecloak_studio.card import LEGEND, script, style
from facecloak_studio.session import StudioSession

HOST = "127.0.0.1"
_NAME_CHARACTERS = 80
_READ_SECONDS = 30.0
Answer = tuple[HTTPStatus, str, bytes]


class StudioServer(ThreadingHTTPServer):
    """Serves one session. ``url`` is what to open."""

    daemon_threads = True

    def __init__(self, session: StudioSession, *, port: int) -> None:
        """``port``: 0 takes a free one. Raises OSError where it is taken."""
        super().__init__((HOST, port), StudioHandler)
        self.session = session
        # Other sites cannot read the page, so they cannot know it: their requests are refused.
        self.token = secrets.token_urlsafe(24)
        self.enrolled_sha256 = b""

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"


class StudioHandler(BaseHTTPRequestHandler):
    """One request."""

    server: StudioServer
    timeout = _READ_SECONDS
    server_version = "FaceCloakStudio"
    sys_version = ""

    def do_GET(self) -> None:
        """The page, the state, the sample."""
        self._answer({"/": self._page, "/api/state": self._state, "/api/sample": self._sample}, needs_token=False)

    def do_POST(self) -> None:
        """Enroll, cloak, forget."""
        posts = {"/api/enroll": self._enroll, "/api/photo": self._photo, "/api/forget": self._forget}
        self._answer(posts, needs_token=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Nothing: a request's line may hold a photo's name."""

    def _page(self) -> Answer:
        names = ["", *self.server.session.surrogates]
        options = "".join(
            f'<option value="{escape(name)}">{escape(name) or "none: protect as well as possible"}</option>'
            for name in names
        )
        strengths = "".join(
            f'<label><input type="checkbox" name="strength" value="{name}"{" checked" if name == "natural" else ""}> '
            f"{name}</label>"
            for name in Strength
        )
        page = Template(files("facecloak_studio").joinpath("studio.html").read_text("utf-8")).substitute(
            style=style(), script=script(), legend=LEGEND, token=self.server.token, version=escape(__version__),
            recognizers=options, strengths=strengths,
        )  # fmt: skip
        return HTTPStatus.OK, "text/html; charset=utf-8", page.encode()

    def _state(self) -> Answer:
        return _json(self.server.session.state.document())

    def _sample(self) -> Answer:
        return HTTPStatus.OK, "image/jpeg", answers.sample()

    def _enroll(self) -> Answer:
        photo = self._body()
        asked = parse_qs(urlsplit(self.path).query)
        self.server.session.begin(photo, strengths=asked.get("strength", []), left_out=asked.get("left_out", [""])[0])
        self.server.enrolled_sha256 = hashlib.sha256(photo).digest()
        return _json(self.server.session.state.document())

    def _photo(self) -> Answer:
        photo = self._body()
        name = parse_qs(urlsplit(self.path).query).get("name", ["photo"])[0][:_NAME_CHARACTERS]
        is_enrolled = hashlib.sha256(photo).digest() == self.server.enrolled_sha256
        return _json(answers.photo_answer(self.server.session, photo, name=name, is_enrolled=is_enrolled))

    def _forget(self) -> Answer:
        self._body()
        self.server.session.forget()
        self.server.enrolled_sha256 = b""
        return _json({})

    def _answer(self, routes: dict[str, Callable[[], Answer]], *, needs_token: bool) -> None:
        route = routes.get(urlsplit(self.path).path)
        if not self._is_from_here() or (needs_token and not self._has_token()):
            self._send(_json({"error": "Open the studio's own page."}, status=HTTPStatus.FORBIDDEN))
        elif route is None:
            self._send(_json({"error": "There is no such page."}, status=HTTPStatus.NOT_FOUND))
        else:
            try:
                self._send(route())
            except FaceCloakError as error:
                said = {"error": error.public_message, "reason": error.reason}
                self._send(_json(said, status=HTTPStatus.BAD_REQUEST))

    def _is_from_here(self) -> bool:
        """Whether the browser asked for this machine by its own name: a site whose name leads here is another."""
        port = self.server.server_address[1]
        return self.headers.get("Host", "") in (f"{HOST}:{port}", f"localhost:{port}")

    def _has_token(self) -> bool:
        return secrets.compare_digest(self.headers.get("X-Studio-Token", "").encode(), self.server.token.encode())

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_PHOTO_BYTES:
            self.close_connection = True
            raise InvalidInput(f"A photo has at most {MAX_PHOTO_BYTES} bytes.")
        return self.rfile.read(int(length))

    def _send(self, answer: Answer) -> None:
        status, kind, body = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; img-src 'self' data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        )
        self.end_headers()
        self.wfile.write(body)


def _json(document: dict[str, Any], *, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return status, "application/json", json.dumps(document).encode()
