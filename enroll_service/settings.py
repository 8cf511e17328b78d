"""Settings of the enrollment service. Environment prefix: FACECLOAK_ENROLL_."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from enroll_service.pipeline.recipe import Recipe
from enroll_service.pipeline.settings import MaskSettings, PipelineSettings
from facecloak.models.repository import DEFAULT_FOLDER, FOLDER_VARIABLE
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.storage import StoreSettings

ENV_PREFIX = "FACECLOAK_ENROLL_"


class TritonSettings(BaseModel):
    """The operator's Triton, for recognizers that do not run in this process."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str = ""
    """HOST:PORT or grpc://HOST:PORT of Triton's gRPC, grpcs://HOST:PORT with TLS; `facecloak models build` writes what
    it serves. Empty: the recognizers run in this process."""

    root_certificates: Path | None = None
    """File of PEM certificates to trust with TLS. Empty: those that gRPC ships."""

    shared_memory: bool = True
    """Pass tensors by POSIX shared memory where Triton runs on this machine, as this user and with the same /dev/shm;
    where it does not, that is noticed. false never tries."""

    call_seconds: float = Field(default=30.0, gt=0)
    """Deadline of one call, seconds. One of 8 crops takes a second on a slow CPU."""

    retry_seconds: float = Field(default=20.0, ge=0)
    """How long a call is tried again while Triton is away, drains or has its queue full, seconds; a restart on a CPU
    takes 5. An enrollment that is cancelled meanwhile waits no longer."""

    circuit_failures: int = Field(default=2, ge=1)
    """Calls of one model that fail in a row before it counts as dead: later ones then fail at once."""

    circuit_seconds: float = Field(default=5.0, gt=0)
    """How long they do, seconds; then one call finds out whether the model lives again."""


class EnrollSettings(MaskSettings, RpcSettings):
    """How the enrollment service runs; every field can be set as FACECLOAK_ENROLL_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX)

    port: int = Field(default=50061, ge=0, le=65535)
    """TCP port to listen on; 0 takes a free one, which the log names."""

    grace_seconds: float = Field(default=120.0, ge=0)
    """Time that enrollments in flight get to finish after SIGTERM, seconds: one takes up to 90 on two CPU cores."""

    model_repository: Path = Field(
        default=DEFAULT_FOLDER,
        validation_alias=AliasChoices("FACECLOAK_ENROLL_MODEL_REPOSITORY", FOLDER_VARIABLE),
    )
    """Folder that `facecloak models pull` filled. FACECLOAK_MODEL_REPOSITORY sets it for both services."""

    store: StoreSettings = StoreSettings()
    """Where masks are kept; fields as FACECLOAK_ENROLL_STORE__<FIELD>."""

    consent_required: bool = False
    """Refuse enrollments without a consent record (EnrollUserRequest.consent) with CONSENT_REQUIRED."""

    recipe: Path | None = None
    """File with a recipe (TOML): how masks are learned, beyond the settings here. What it leaves out is as in
    enroll_service/pipeline/recipe.py, which says where each figure comes from. Empty: all of it is."""

    triton: TritonSettings = TritonSettings()
    """Where recognizers run, if not in this process; fields as FACECLOAK_ENROLL_TRITON__<FIELD>."""

    workers: int = Field(default=1, ge=1, le=64)
    """Enrollments that run at once. One uses every CPU core, and a GPU is shared by few."""

    threads: int = Field(default=0, ge=0)
    """CPU threads that a recognizer uses in one operator; 0 takes one a core. Triton's are set by `models build`."""

    queue_limit: int = Field(default=16, ge=1, le=1024)
    """Enrollments that wait at most; more are refused with OVERLOADED and the time to come back. At half a minute each,
    the last of 16 waits eight minutes: about as long as a person does."""

    user_queue_limit: int = Field(default=4, ge=1, le=1024)
    """Enrollments of one user that wait at most, so that no user fills the queue; users take turns."""

    enrollment_seconds_limit: float = Field(default=900.0, gt=0)
    """Longest time one enrollment may work, seconds, whatever deadline the caller gave: ten times what the slowest
    machine measured takes (90 s)."""

    photos_mebibytes_limit: int = Field(default=60, ge=1, le=1024)
    """Largest sum of the photos of one call, MiB. Memory for queued photos: (queue_limit + workers) times this."""

    photos_megapixels_limit: float = Field(default=400.0, ge=1, le=4096)
    """Largest sum of the pixels of one call's photos, millions, told from their headers: 16 photos of 24 megapixels
    pass. Decoding takes up to 0.04 s of a core a megapixel, and 0.08 s for PNGs of 16 bits a sample."""

    results_limit: int = Field(default=1024, ge=1)
    """Finished enrollments whose request id is remembered in memory, so that a repeated call gets the first one's
    result. Each user's last one is kept with the mask besides, and outlives a restart."""

    results_ttl_seconds: float = Field(default=3600.0, gt=0)
    """How long it is remembered, seconds, in memory or with the mask: beyond any client's own retries."""

    def pipeline(self) -> PipelineSettings:
        """What decides how masks look, the recipe read. Raises RecipeUnusable."""
        chosen = {name: getattr(self, name) for name in MaskSettings.model_fields}
        return PipelineSettings(**chosen, recipe=Recipe() if self.recipe is None else Recipe.load(self.recipe))

    @model_validator(mode="after")
    def _limits_fit(self) -> EnrollSettings:
        if self.photos_mebibytes_limit >= self.message_mebibytes_limit:
            raise ValueError("photos_mebibytes_limit must be below message_mebibytes_limit, or no message holds them")
        if self.concurrent_calls_limit < self.queue_limit + self.workers:
            raise ValueError("concurrent_calls_limit must be at least queue_limit + workers: who waits holds a call")
        return self
