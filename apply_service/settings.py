"""Settings of the apply service. Environment prefix: FACECLOAK_APPLY_."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator
from pydantic_settings import SettingsConfigDict

from apply_service.c2pa_signer import C2paSettings
from apply_service.upload_ticket import TicketSettings
from facecloak.limits import MAX_PHOTO_BYTES, MAX_PHOTO_PIXELS, MAX_PHOTO_SIDE_PX
from facecloak.models.repository import DEFAULT_FOLDER, FOLDER_VARIABLE
from facecloak.photos import PhotoLimits
from facecloak.photos.photo import USUAL_FORMATS, PhotoFormat
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.storage import StoreSettings

OWN_MEBIBYTES = 448
"""What a process takes without photos and masks: Python, libraries, models, threads, and decoders that wait."""
# 64 subjects with their hints, and what gRPC and a later release may add.
_BESIDE_PHOTO_BYTES = 2**20
# While one message is taken over from gRPC there are three of it; Python does that to one at a time.
_COPIED_MESSAGES = 2
# Connections of a process that died go to those that are left, and would stay there once it is back.
_SHARED_PORT_CONNECTION_AGE_SECONDS = 20.0
ENV_PREFIX = "FACECLOAK_APPLY_"


class ApplySettings(RpcSettings):
    """How the apply service runs; every field can be set as FACECLOAK_APPLY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX)

    port: int = Field(default=50062, ge=0, le=65535)
    """TCP port to listen on; 0 takes a free one, which the log names."""

    model_repository: Path = Field(
        default=DEFAULT_FOLDER,
        validation_alias=AliasChoices("FACECLOAK_APPLY_MODEL_REPOSITORY", FOLDER_VARIABLE),
    )
    """Folder that `facecloak models pull` filled. FACECLOAK_MODEL_REPOSITORY sets it for both services."""

    store: StoreSettings = StoreSettings()
    """Where masks are read from; fields as FACECLOAK_APPLY_STORE__<FIELD>."""

    ticket: TicketSettings = TicketSettings()
    """Upload tickets; fields as FACECLOAK_APPLY_TICKET__<FIELD>."""

    c2pa: C2paSettings = C2paSettings()
    """Content credentials; fields as FACECLOAK_APPLY_C2PA__<FIELD>."""

    threads: int = Field(default=1, ge=1)
    """CPU threads that finding one face uses. 1: photos run side by side, which serves more of them a second."""

    processes: int = Field(default=1, ge=0, le=256)
    """Processes that share the port, under one supervisor; 0 takes one a core. Each has a cache of its own, and its
    share of in_flight_limit; the metrics of process i are on metrics_port + i. 1: in containers, where the platform
    adds more of them."""

    in_flight_limit: int = Field(default_factory=lambda given: _photos_at_once(given), ge=1, le=1024)
    """Photos being worked on at once; more wait, then are refused with OVERLOADED. One a core and one more, but two a
    process where there are several, keep the cores busy; more only wait for each other. While calls are about to be
    refused, fewer are worked on where they hold up the refusals. At most 64 a process; in a container set it by the
    CPUs it may use, since it sees all of the machine's. Memory is bounded by memory_mebibytes, whatever their
    number."""

    memory_mebibytes: int = Field(default=2048, ge=64)
    """Memory of each process for the photos it works on, MiB. What a photo takes is told from its header, in bytes
    a pixel: 6 for JPEG, 11 from when all of it has to be decoded on, 17 for progressive JPEG and PNG, 26 for WebP,
    44 for lossless WebP, 46 for PNG of 16 bits, 40 for HEIC and AVIF, 60 for HEIC of 10 bits, 40 for an animation's
    frames; 20 MiB, and four times the file. Photos that do not fit beside each other wait, then are OVERLOADED; one
    that alone takes more is PHOTO_TOO_LARGE. By default all of 67 megapixels fit but lossless WebP and PNG of 16 bits:
    those may have 45."""

    admission_seconds: float = Field(default=1.0, ge=0, le=30)
    """How long a call waits for its place before it is refused, seconds: evens out bursts, far below the time that
    an uploading user waits. One whose turn would come later, by the time that the last photos took, is refused at
    once."""

    streams_limit: int = Field(default=8, ge=1, le=1024)
    """ApplyCloakStream calls open at once; each holds a thread. Photos are bounded by in_flight_limit whatever their
    number, so it only has to leave room for other calls below concurrent_calls_limit."""

    stream_depth: int = Field(default=4, ge=1, le=64)
    """Photos of one stream that are worked on at once; the service reads no further until one is answered. Two a core
    on two cores."""

    stream_idle_seconds: float = Field(default=300.0, gt=0)
    """How long a stream may be open without a photo, seconds, before it ends with REQUEST_INCOMPLETE; its first one has
    to come within message_seconds."""

    photo_mebibytes_limit: int = Field(default=MAX_PHOTO_BYTES // 2**20, ge=1, le=1023)
    """Largest photo, MiB. A 48-megapixel camera's JPEG has 10 to 25. Keep it below message_mebibytes_limit."""

    photo_megapixels_limit: float = Field(default=MAX_PHOTO_PIXELS / 10**6, ge=1, le=256)
    """Most pixels of a photo, millions: photos of 48- and 64-megapixel phones pass, as they do at enrollment. At 200
    those of 108- and 200-megapixel phones do, too: JPEGs whose faces alone have to be decoded in the memory there is,
    others with memory_mebibytes at 2560."""

    photo_side_limit: int = Field(default=MAX_PHOTO_SIDE_PX, ge=1, le=65_535)
    """Longest side of a photo, pixels: WebP's own limit is 16,383, and panoramas stay below."""

    heic: bool = False
    """Whether HEIC photos are taken, too. Needs the extra `heif`. Off by default: its decoders have a history of
    faults, and a HEIC that is cloaked is coded anew as a whole, which takes about 5 s of one core for 12 megapixels."""

    avif: bool = False
    """Whether AVIF photos are taken, too, by the libavif in Pillow. Off by default, for the same reasons."""

    motion: Literal["drop", "keep"] = "drop"
    """What becomes of the video of a motion photo (Google, Samsung), which shows the faces as they are: drop leaves it
    out with all that announces it; keep keeps it, and the answer says so (trailer.video:kept)."""

    animation_frames_limit: int = Field(default=200, ge=1, le=10_000)
    """Most frames of an animation (GIF, APNG, WebP). Each is searched for faces and costs what a photo of its size
    does; 1 refuses animations."""

    animation_megapixels_limit: float = Field(default=MAX_PHOTO_PIXELS / 10**6, gt=0, le=256)
    """Most pixels of all frames of an animation together, millions."""

    cache_mebibytes: int = Field(default=64, ge=1)
    """Memory for masks in clear, MiB: at 64 about 1600 users with one mask each, 200 with banks of eight."""

    cache_ttl_seconds: float = Field(default=30.0, ge=0)
    """A cached mask is used this long, seconds, before the store is asked for its version again. So a deleted user's
    mask is gone after at most this time."""

    cache_negative_ttl_seconds: float = Field(default=5.0, ge=0)
    """How long it is remembered that a user has no mask, seconds. Short: who just enrolled wants to be cloaked."""

    cache_stale_seconds: float = Field(default=300.0, ge=0)
    """While the store does not answer, a cached mask is used for up to this long after it was last confirmed, seconds:
    a photo that goes out uncloaked cannot be called back."""

    @model_validator(mode="after")
    def _limits_fit(self) -> ApplySettings:
        if self.photo_mebibytes_limit >= self.message_mebibytes_limit:
            raise ValueError("photo_mebibytes_limit must be below message_mebibytes_limit, or no message holds it")
        if self.concurrent_calls_limit < -(-self.in_flight_limit // self.worker_count) + self.streams_limit:
            raise ValueError("concurrent_calls_limit must be at least in_flight_limit (a process) + streams_limit")
        if self.cache_stale_seconds < self.cache_ttl_seconds:
            raise ValueError("cache_stale_seconds must not be below cache_ttl_seconds")
        if self.heic and importlib.util.find_spec("pillow_heif") is None:
            raise ValueError("heic needs the extra `heif`: pip install 'facecloak[heif]'")
        return self

    mark_photos: bool = True
    """Whether a cloaked photo carries a tag, so that it is not cloaked twice. The tag shows that the photo went
    through FaceCloak and how many masks it contains; it names nobody and differs from photo to photo."""

    @property
    def largest_message_bytes(self) -> int:
        """What a message may have: the largest photo, and what a call says beside it."""
        return min(self.photo_mebibytes_limit * 2**20 + _BESIDE_PHOTO_BYTES, self.message_bytes_limit)

    @property
    def process_mebibytes(self) -> int:
        """Most memory that one process takes, MiB: what a container's limit has to be at least."""
        messages = (self.reading_limit + self.streams_limit + _COPIED_MESSAGES) * self.largest_message_bytes
        return OWN_MEBIBYTES + self.cache_mebibytes + self.memory_mebibytes + -(-messages // 2**20)

    @property
    def worker_count(self) -> int:
        """Processes to run."""
        return self.processes or len(os.sched_getaffinity(0))

    def for_worker(self, index: int) -> ApplySettings:
        """The settings of one of the processes."""
        share: dict[str, float] = {
            "processes": 1,
            "in_flight_limit": -(-self.in_flight_limit // self.worker_count),
            "metrics_port": self.metrics_port + index if self.metrics_port else 0,
        }
        if self.worker_count > 1 and not self.connection_age_seconds:
            share["connection_age_seconds"] = _SHARED_PORT_CONNECTION_AGE_SECONDS
        return self.model_copy(update=share)

    @property
    def photo_formats(self) -> frozenset[PhotoFormat]:
        """The formats that are taken."""
        further = {PhotoFormat.HEIC: self.heic, PhotoFormat.AVIF: self.avif}
        return USUAL_FORMATS | {kind for kind, is_taken in further.items() if is_taken}

    @property
    def photo_limits(self) -> PhotoLimits:
        """The limits on one photo."""
        return PhotoLimits(
            max_bytes=self.photo_mebibytes_limit * 2**20,
            max_pixels=round(self.photo_megapixels_limit * 10**6),
            max_side=self.photo_side_limit,
            formats=self.photo_formats,
            max_frames=self.animation_frames_limit,
            max_animation_pixels=round(self.animation_megapixels_limit * 10**6),
            keep_motion=self.motion == "keep",
        )


def _photos_at_once(given: dict[str, Any]) -> int:
    """For each process at least two, and at most half of what concurrent_calls_limit allows by default."""
    cores = os.cpu_count() or 1
    processes = given.get("processes") or cores
    return min(max(cores + 1, 2 * min(processes, cores)), 64 * processes)
