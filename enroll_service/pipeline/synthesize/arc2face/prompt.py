"""The prompt: a fixed sentence in which one word's embedding is the person's.

Arc2Face (arXiv 2403.11641) keeps Stable Diffusion's text encoder, trained further, and hands it "photo of a <id>
person" with the ArcFace embedding, padded with zeros to the width of a token's, in the place of <id>.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from enroll_service.pipeline.errors import SynthesizerUnavailable
from enroll_service.pipeline.synthesize.arc2face.weights import IDENTITY_SIZE

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

SENTENCE = "photo of a id person"
_PLACEHOLDER = "id"


def identity_prompt(pipeline: StableDiffusionPipeline, identity: np.ndarray) -> Tensor:
    """The encoded prompt (1, tokens, width) for an identity (512,) float32 of unit length.

    Raises:
        SynthesizerUnavailable: the tokenizer does not know the placeholder as one word.
    """
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    if identity.shape != (IDENTITY_SIZE,):
        raise ValueError(f"an identity has the shape {identity.shape}")
    (placeholder, *others) = tokenizer.encode(_PLACEHOLDER, add_special_tokens=False)
    tokens = tokenizer(
        SENTENCE, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids.to(encoder.device)
    place = tokens == placeholder
    if others or int(place.sum()) != 1:
        raise SynthesizerUnavailable("Arc2Face's tokenizer does not know the prompt's words.", part="tokenizer")
    with torch.no_grad(), _embedded(encoder, place=place, vector=torch.from_numpy(identity)):
        return encoder(tokens)[0]


@contextmanager
def _embedded(encoder: Any, *, place: Tensor, vector: Tensor) -> Iterator[None]:
    """While open, tokens at ``place`` (1, tokens) have the embedding ``vector``, padded with zeros to their width.

    A hook on the table of embeddings, since the encoder takes no embeddings in place of tokens.
    """

    def put(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        padded = functional.pad(vector, (0, embedded.shape[-1] - len(vector))).to(embedded)
        return torch.where(place.to(embedded.device).unsqueeze(-1), padded, embedded)

    hook = encoder.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        hook.remove()
