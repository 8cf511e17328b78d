"""ApplyCloak as an oracle: what a caller gets who sends a published cloaked photo with its owner's id.

    python -m benchmarks.oracle --people ../shared/faces/people --slice 21:22 --out docs/results/oracle.json

What comes out minus what went in is an estimate of the mask; subtracted from the published photo it may show the face
again. Masks are learned as they are by default, but for the two recognizers that judge, and the calls go to a real
apply service: by a caller with the right to apply and by one without, with upload tickets asked for and not, for a user
with one mask and for one with a bank, whose masks are picked by the photo's bytes: the attacker changes one pixel and
asks again, and keeps what looks most like the person.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

SCHEMA = "facecloak-bench-oracle/1"
_CALLERS = """
[[caller]]
name = "upload"
claims = {sub = "upload"}
rights = ["apply"]

[[caller]]
name = "accounts"
claims = {sub = "accounts"}
rights = ["enroll", "delete", "read"]
"""
_TICKET_KEY = secrets.token_bytes(32)


@dataclass(frozen=True)
class Victim:
    """Files: the photo that is enrolled, the one that is published cloaked, and the one that the face is known by."""

    name: str
    enrolled: bytes
    published: bytes
    known_by: bytes


@click.command()
@click.option("--people", "people_folder", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder of people; without it, the astronaut of scikit-image alone.")  # fmt: skip
@click.option("--slice", "selection", default="21:22", show_default=True, help="People, in name order.")
@click.option("--judge", "judges", multiple=True, default=("sface", "fr_feature"), show_default=True)
@click.option("--masks", default=4, show_default=True, type=click.IntRange(2, 16), help="Of the bank.")
@click.option("--calls", default=16, show_default=True, type=click.IntRange(1), help="Of the attacker, for the bank.")
@click.option("--recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--repository", type=click.Path(exists=True, file_okay=False, path_type=Path),
              default=Path("model_repository"), show_default=True, envvar="FACECLOAK_MODEL_REPOSITORY")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path))
def main(
    *, people_folder: Path | None, selection: str, judges: tuple[str, ...], masks: int, calls: int,
    recipe: Path | None, repository: Path, out: Path | None,
) -> None:  # fmt: skip
    """Measure what ApplyCloak tells of masks."""
    from facecloak_evaluation.ledger import provenance, write_json

    victims = list(_victims(people_folder, selection))
    result = {
        "schema": SCHEMA,
        **provenance(),
        **measure(repository, victims, judges=judges, masks=masks, calls=calls, recipe=recipe),
    }
    if out is not None:
        write_json(out, result)
    for condition, row in result["conditions"].items():
        click.echo(f"{condition:<36} {row}")


def measure(
    repository: Path,
    victims: list[Victim],
    *,
    judges: tuple[str, ...],
    masks: int,
    calls: int,
    recipe: Path | None = None,
) -> dict[str, Any]:
    """By condition and judge the mean similarity, 0..1, of the published photo to the person: before it was cloaked,
    cloaked, and restored; or the reason that the attacker's calls are refused for."""
    from enroll_service.pipeline import PipelineSettings, Recipe
    from enroll_service.pipeline.enroller import Enroller
    from enroll_service.pipeline.intake.photo import EnrollmentPhoto
    from facecloak.faces import FaceFinder
    from facecloak.masks.bank import MaskBank
    from facecloak.recognizers.onnx_runtime import OnnxRuntime
    from facecloak.users import User
    from facecloak_rpc.storage import StoreSettings, open_configured_store
    from tests.tokens import Issuer

    surrogates = tuple(one for one in PipelineSettings().surrogates if one not in judges)
    settings = PipelineSettings(
        surrogates=surrogates, masks=masks, recipe=Recipe() if recipe is None else Recipe.load(recipe)
    )
    runtime = OnnxRuntime(repository, names=(*surrogates, *judges), threads=1)
    finder = FaceFinder.load(repository)
    enroller = Enroller(runtime=runtime, finder=finder, settings=settings)
    looks, began = Looks(finder, runtime, judges), time.process_time()
    rows: list[dict[str, Any]] = []
    issuer = Issuer("EdDSA")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        store = open_configured_store(StoreSettings(data=folder / "data"))
        for victim in victims:
            bank = enroller.run(
                [EnrollmentPhoto(victim.enrolled)], progress=lambda _: None, cancelled=lambda: False, seed=0
            )
            assert isinstance(bank, MaskBank)
            store.put(User("", f"{victim.name}-one"), bank.masks[0])
            store.put(User("", f"{victim.name}-bank"), bank)
            rows.append({"victim": victim, "bank": bank})
            click.echo(f"enrolled {len(rows)}, {time.process_time() - began:.0f} s of processor time", err=True)
        with _service(folder, repository, issuer, tickets=False) as send:
            upload, accounts = issuer.token("upload"), issuer.token("accounts")
            for row in rows:
                victim, bank = row["victim"], row["bank"]
                for kind in ("one", "bank"):
                    user = f"{victim.name}-{kind}"
                    row[kind] = _attacked(
                        victim, lambda photo, user=user: send(photo, user, upload)[0], looks,
                        calls=1 if kind == "one" else calls,
                        member=None if kind == "one" else lambda photo, bank=bank: _member(bank, photo),
                    )  # fmt: skip
                row["refused"] = {"without the right": send(victim.published, f"{victim.name}-one", accounts)[1]}
        with _service(folder, repository, issuer, tickets=True) as send:
            for row in rows:
                victim = row["victim"]
                owner, published = f"{victim.name}-one", victim.published
                uploaded, _ = send(published, owner, upload, _ticket(owner, published))
                assert uploaded, "the owner's own upload, with its ticket"
                row["refused"] |= {
                    "without a ticket": send(uploaded, owner, upload)[1],
                    "with the ticket of the owner's own upload": send(
                        uploaded, owner, upload, _ticket(owner, published)
                    )[1],
                    "with a ticket for oneself and this photo": send(
                        uploaded, owner, upload, _ticket("attacker", uploaded)
                    )[1],
                }
    return {
        "surrogates": list(surrogates),
        "judges": list(judges),
        "recipe": settings.recipe.model_dump(mode="json"),
        "victims": {"astronaut": any(one.name == "astronaut" for one in victims), "count": len(victims)},
        "bank": {"masks": masks, "calls": calls},
        "condition": "published: JPEG as the service answers; sent again as PNG; restored: 2 x sent - answered; found "
        "afresh by the services' finder; similarity: cosine to another photo of the person (to itself: astronaut)",
        "conditions": _summary(rows, judges),
        "cpu_seconds": round(time.process_time() - began, 1),
    }


class Looks:
    """Recognizers' similarity of a photo to what a person is known by."""

    def __init__(self, finder: Any, runtime: Any, judges: tuple[str, ...]) -> None:
        from facecloak_evaluation.face_extraction import FaceExtractor

        self._extractor = FaceExtractor(finder)
        self._runtime = runtime
        self._judges = judges

    def of(self, pixels: np.ndarray, *, clean: np.ndarray, known_by: np.ndarray) -> dict[str, float]:
        """By judge, the cosine of ``pixels``, (H, W, 3) uint8 of a photo whose original is ``clean``."""
        from facecloak.faces import aligned_crop
        from facecloak_evaluation.face_extraction import embed
        from facecloak_evaluation.platforms import PLATFORMS

        face, known = self._person_in(clean), self._person_in(known_by)
        here = self._extractor.see_uploaded(pixels, known=face, platform=PLATFORMS["delivered"])
        found = {}
        for judge in self._judges:
            one, other = embed(self._runtime, judge, [here.crop_u8, aligned_crop(known_by, known.landmarks)])
            found[judge] = float(one @ other)
        return found

    def _person_in(self, pixels: np.ndarray) -> Any:
        """The face near the middle, or the largest: the astronaut stands aside."""
        face = self._extractor.person_in(pixels)
        if face is not None:
            return face
        faces = self._extractor.finder.find(pixels)
        if not faces:
            raise click.ClickException("a photo shows no face")
        return max(faces, key=lambda one: one.box.width * one.box.height)


def _attacked(
    victim: Victim,
    send: Callable[[bytes], bytes],
    looks: Looks,
    *,
    calls: int,
    member: Callable[[bytes], int] | None,
) -> dict[str, Any]:
    from facecloak.photos import decode_photo

    clean, known_by = decode_photo(victim.published).srgb_u8, decode_photo(victim.known_by).srgb_u8

    def look(pixels: np.ndarray) -> dict[str, float]:
        return looks.of(pixels, clean=clean, known_by=known_by)

    answer = send(victim.published)
    cloaked = decode_photo(answer).srgb_u8
    same, other, every = [], [], []
    for number in range(calls):
        pixels = cloaked.copy()
        pixels[0, 0, 0] ^= number  # another photo, for the bank
        sent = _png(pixels)
        restored = look(
            np.clip(2 * pixels.astype(np.int16) - decode_photo(send(sent)).srgb_u8, 0, 255).astype(np.uint8)
        )
        every.append(restored)
        (same if member is None or member(sent) == member(victim.published) else other).append(restored)
    return {"before": look(clean), "cloaked": look(cloaked), "same": same, "other": other, "every": every}


def _summary(rows: list[dict[str, Any]], judges: tuple[str, ...]) -> dict[str, Any]:
    def mean(pick: Callable[[dict[str, Any], str], float | None]) -> dict[str, float | None]:
        means = {}
        for judge in judges:
            values = [value for row in rows if (value := pick(row, judge)) is not None]
            means[judge] = round(float(np.mean(values)), 3) if values else None
        return means

    def averaged(found: list[dict[str, float]], judge: str) -> float | None:
        return float(np.mean([one[judge] for one in found])) if found else None

    summary: dict[str, Any] = {}
    for kind, name in (("one", "right, one mask"), ("bank", "right, a bank")):
        summary[name] = {
            "before": mean(lambda row, judge, kind=kind: row[kind]["before"][judge]),
            "cloaked": mean(lambda row, judge, kind=kind: row[kind]["cloaked"][judge]),
            "restored by one call": mean(lambda row, judge, kind=kind: averaged(row[kind]["every"], judge)),
        }
    summary["right, a bank"] |= {
        "restored where the same mask was picked": mean(lambda row, judge: averaged(row["bank"]["same"], judge)),
        "restored where another was picked": mean(lambda row, judge: averaged(row["bank"]["other"], judge)),
        "restored by the best of all calls": mean(lambda row, judge: max(one[judge] for one in row["bank"]["every"])),
    }
    for condition in rows[0]["refused"]:
        summary[condition] = {"refused": sorted({row["refused"][condition] for row in rows})}
    return summary


@contextmanager
def _service(
    folder: Path, repository: Path, issuer: Any, *, tickets: bool
) -> Iterator[Callable[..., tuple[bytes, str]]]:
    """A real apply service; what is yielded sends a photo for a user with a token, and returns the photo or the reason
    that it was refused for."""
    from pydantic import SecretStr

    from apply_service.server import build_apply_server
    from apply_service.settings import ApplySettings
    from apply_service.upload_ticket import TicketSettings
    from facecloak_client import CallFailed, FaceCloakClient
    from facecloak_rpc.identity import IdentitySettings
    from facecloak_rpc.logging import configure_logging
    from facecloak_rpc.storage import StoreSettings
    from tests.tokens import AUDIENCE, ISSUER

    configure_logging(log_format="json", level="error")
    callers = folder / "callers.toml"
    callers.write_text(_CALLERS)
    key = SecretStr(base64.b64encode(_TICKET_KEY).decode())
    settings = ApplySettings(
        port=0, model_repository=repository, store=StoreSettings(data=folder / "data"),
        identity=IdentitySettings(
            callers=callers, jwks=str(issuer.write_jwks(folder / "jwks.json")), issuer=ISSUER, audience=AUDIENCE
        ),
        ticket=TicketSettings(required=tickets, key=key),
    )  # fmt: skip
    server = build_apply_server(settings)
    server.start()
    try:
        if not server.readiness.wait_ready(120):
            raise click.ClickException("the apply service did not start")

        def send(photo: bytes, user: str, token: str, ticket: str = "") -> tuple[bytes, str]:
            with FaceCloakClient(apply=server.target, token=token) as client:
                try:
                    tickets = (ticket,) if ticket else ()
                    return client.apply(photo, user, tickets=tickets, timeout_s=120).photo, ""
                except CallFailed as failure:
                    return b"", failure.reason

        yield send
    finally:
        server.stop(grace_seconds=0)


def _ticket(user: str, photo: bytes) -> str:
    import jwt

    digest = hashlib.sha256(photo).hexdigest()
    claims = {"aud": "facecloak-upload", "exp": int(time.time()) + 300, "sub": user, "photo_sha256": digest}
    return jwt.encode(claims, _TICKET_KEY, "HS256")


def _member(bank: Any, photo: bytes) -> int:
    """Which of the bank's masks the service picks for a photo; an attacker cannot know."""
    return next(index for index, mask in enumerate(bank.masks) if mask is bank.pick(hashlib.sha256(photo).digest()))


def _png(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _victims(people_folder: Path | None, selection: str) -> Iterator[Victim]:
    import simplejpeg
    from skimage import data

    astronaut = simplejpeg.encode_jpeg(np.ascontiguousarray(data.astronaut()), quality=95, colorsubsampling="444")
    yield Victim("astronaut", astronaut, astronaut, astronaut)
    if people_folder is not None:
        from facecloak_evaluation.dataset import read_people

        for number, person in enumerate(read_people(people_folder, selection=selection)):
            first, second = person.numbered(range(1, 3))
            yield Victim(f"person-{number}", person.enroll_photo.read_bytes(), first.read_bytes(), second.read_bytes())


if __name__ == "__main__":
    main()
