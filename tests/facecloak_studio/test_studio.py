"""The studio: its server, and its page in a real browser where there is one."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class RunningStudio:
    """The command, and requests to it as its page makes them."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.port = int(url.rsplit(":", 1)[1].strip("/"))
        self.token = re.search(r'token = "([^"]+)"', self.get("/")[1].decode())[1]  # type: ignore[index]

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
        status, data = self.ask("POST", path, body, {"X-Studio-Token": self.token})
        return status, json.loads(data)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def wait(self, *phases: str, seconds: float = 400) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state: dict[str, Any] = json.loads(self.get("/api/state")[1])
            if state["phase"] in phases:
                return state
            time.sleep(0.3)
        raise AssertionError("it did not happen")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a file that is written without being asked for would lie."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def studio(model_repository: Path, home: Path) -> Iterator[RunningStudio]:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
        "FACECLOAK_MODEL_REPOSITORY": str(model_repository),
        "FACECLOAK_ENROLL_RECIPE": str(ROOT / "tests/recipes/quick.toml"), "HOME": str(home), "TMPDIR": str(home),
        "FACECLOAK_ENROLL_SURROGATES": '["mobileface", "sface"]',
    }  # fmt: skip
    command = [sys.executable, "-m", "facecloak_studio", "--port", "0", "--no-open"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=home)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield RunningStudio(process, line.split()[0])
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def fresh(studio: RunningStudio) -> RunningStudio:
    studio.post("/api/forget")
    return studio


def test_other_sites_and_other_hosts_are_refused(fresh: RunningStudio) -> None:
    assert fresh.get("/")[0] == 200
    assert fresh.get("/", Host="evil.example")[0] == 403
    assert fresh.get("/api/state", Host=f"evil.example:{fresh.port}")[0] == 403
    assert fresh.ask("POST", "/api/forget", b"", {})[0] == 403
    assert fresh.ask("POST", "/api/forget", b"", {"X-Studio-Token": "guess"})[0] == 403
    assert fresh.get("/../pyproject.toml")[0] == 404
    assert (
        fresh.ask("POST", "/api/photo", None, {"X-Studio-Token": fresh.token, "Content-Length": "999999999"})[0] == 400
    )


def test_what_cannot_be_done_is_said(fresh: RunningStudio, astronaut_photo: bytes) -> None:
    status, answer = fresh.post("/api/photo?name=a.jpg", astronaut_photo)
    assert (status, answer["reason"]) == (400, "NOBODY_ENROLLED")
    for query in ("", "strength=loud", "strength=natural&left_out=nobody"):
        assert fresh.post(f"/api/enroll?{query}", astronaut_photo)[0] == 400
    assert fresh.post("/api/enroll?strength=natural", b"no photo")[0] == 200
    assert "photo" in fresh.wait("failed")["detail"].lower()


@pytest.mark.slow
def test_a_person_is_enrolled_cloaked_and_forgotten(fresh: RunningStudio, home: Path, astronaut_photo: bytes) -> None:
    assert simplejpeg.decode_jpeg(fresh.get("/api/sample")[1]).shape == (512, 512, 3)
    query = "strength=unnoticed&strength=natural&left_out=sface"
    assert fresh.post(f"/api/enroll?{query}", astronaut_photo)[1]["phase"] == "learning"
    assert fresh.post(f"/api/enroll?{query}", astronaut_photo)[1]["reason"] == "STUDIO_BUSY"
    state = fresh.wait("ready", "failed")
    assert (state["phase"], state["strengths"], state["left_out"]) == ("ready", ["unnoticed", "natural"], "sface")
    status, answer = fresh.post("/api/photo?name=x%3Cb%3E.jpg", astronaut_photo)
    assert status == 200
    assert [one["strength"] for one in answer["strengths"]] == ["unnoticed", "natural"]
    card = answer["strengths"][1]["card"]
    assert "x&lt;b&gt;.jpg" in card
    assert "this is the very photo" in card.lower()
    assert "sface, which enrollment never saw" in card
    assert answer["side_by_side"].count("<img") == 3
    gray = simplejpeg.encode_jpeg(np.full((90, 90, 3), 99, np.uint8), colorspace="RGB")
    status, answer = fresh.post("/api/photo?name=gray.jpg", gray)
    assert "No face was found" in answer["strengths"][0]["card"]
    assert answer["strengths"][0]["file"] is None
    # A measure draws with Matplotlib, which notes the machine's fonts.
    assert [path for path in home.rglob("*") if path.is_file() and path.parent.name != "matplotlib"] == []
    fresh.post("/api/forget")
    assert fresh.post("/api/photo?name=a.jpg", astronaut_photo)[0] == 400


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: Debian's chromium")
def test_the_page_works_in_a_browser(fresh: RunningStudio, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    shots = Path(os.environ.get("SCREENSHOTS_FOLDER") or tmp_path)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(300_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(fresh.url)
        assert page.locator("#enroll").is_disabled()
        page.click("#sample")
        page.check("[value=unnoticed]")
        page.click("#enroll")
        page.wait_for_selector("#learning:not([hidden])")
        page.screenshot(path=shots / "studio-learning.png", full_page=True)
        page.wait_for_selector("#same:not([disabled])")
        page.click("#same")
        page.wait_for_selector(".card .stack")
        face = page.locator(".view.face .stack")
        cut = face.evaluate("element => getComputedStyle(element).getPropertyValue('--cut')")
        face.locator("input").focus()
        page.keyboard.press("ArrowRight")
        assert face.evaluate("element => getComputedStyle(element).getPropertyValue('--cut')") != cut
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=shots / f"studio-{width}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.set_viewport_size({"width": 1280, "height": 900})
        page.click("text=Difference")
        assert page.locator(".view.difference").is_visible()
        page.click("text=side by side, full size")
        assert page.locator(".full-size img").first.evaluate("image => image.clientWidth") == 512
        page.screenshot(path=shots / "studio-side-by-side.png", full_page=True)
        page.set_input_files("#file-photo", {"name": "no.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"})
        page.wait_for_selector("#error.shown")
        assert page.inner_text("#error").startswith("no.jpg: ")
        page.click("#forget")
        page.wait_for_function("document.querySelectorAll('.card').length === 0")
        assert errors == []
        browser.close()
