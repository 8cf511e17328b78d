"""An upload endpoint that publishes nothing uncloaked: `python http_upload.py APPLY_TARGET [PORT]`.

    curl --data-binary @party.jpg 'http://127.0.0.1:8080/upload?user=user-4711' -o cloaked.jpg

200: the cloaked photo. 422: the photo cannot be cloaked or is none; the JSON says why and, where a face must be chosen,
which there are. 503 with Retry-After: hold the photo and come again. A platform has its own server and accounts; what
matters here is what becomes of each answer.
"""

from __future__ import annotations

import json
import math
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from facecloak.v1.apply_pb2 import CloakOutcome
from facecloak_client import CallFailed, FaceCloakClient, NotCloaked, errors

PHOTO_BYTES_LIMIT = 32 * 1024 * 1024


class Upload(BaseHTTPRequestHandler):
    """One connection."""

    client: FaceCloakClient
    # A client that sends nothing is hung up on.
    timeout = 30

    def do_POST(self) -> None:
        """Takes a photo."""
        url = urlsplit(self.path)
        user = parse_qs(url.query).get("user", [""])[0]
        length = self.headers.get("Content-Length", "")
        if url.path != "/upload" or not user:
            return self._say(404, {"error": "post to /upload?user=ID"})
        if not length.isdecimal():
            return self._say(411, {"error": "say the photo's length"})
        if int(length) > PHOTO_BYTES_LIMIT:
            return self._say(413, {"error": f"a photo has at most {PHOTO_BYTES_LIMIT} bytes"})
        try:
            answer = self.client.apply(self.rfile.read(int(length)), user, timeout_s=20)
        except NotCloaked as error:
            (subject,) = error.subjects
            faces = [[face.box.x, face.box.y, face.box.width, face.box.height] for face in subject.faces]
            outcome = CloakOutcome.Name(subject.outcome).removeprefix("CLOAK_OUTCOME_")
            self._say(422, {"error": outcome, "advice": subject.advice, "faces": faces})
        except errors.InvalidRequest as error:
            self._say(422, {"error": error.reason, "advice": error.message})
        except CallFailed as error:
            # Nothing is published: whether it may be tried again is the service's to say.
            wait = math.ceil(error.retry_after_s or 1.0)
            self._say(503, {"error": error.reason, "request_id": error.request_id}, {"Retry-After": str(wait)})
        else:
            self._answer(200, answer.photo, {"Content-Type": "application/octet-stream"})
        return None

    def _say(self, status: int, document: dict[str, object], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        # What was not read of the request must not be taken for the next one.
        self.close_connection = True
        self._answer(status, body, {"Content-Type": "application/json", "Connection": "close", **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def serve(client: FaceCloakClient, *, port: int) -> ThreadingHTTPServer:
    """A server bound to ``port`` of this machine, 0 takes a free one; its ``serve_forever`` serves."""
    handler = type("UploadOfClient", (Upload,), {"client": client})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def main(apply_target: str, port: str = "8080") -> None:
    """Serves until it is interrupted."""
    with FaceCloakClient(apply=apply_target) as client, serve(client, port=int(port)) as server:
        print(f"http://127.0.0.1:{server.server_port}/upload?user=ID", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
