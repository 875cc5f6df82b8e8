"""Prompts that are longer than a text encoder takes: encoded in parts that are put in a row."""

from __future__ import annotations

import re
from typing import Any

import torch

_SPECIAL = 2
"""Tokens for the beginning and the end of a text."""


def text_length(pipe: Any) -> int | None:
    """Tokens that the pipeline's encoders take, beginning and end not counted; None without."""
    lengths = [tokenizer.model_max_length for tokenizer in _tokenizers(pipe)]
    return min(lengths) - _SPECIAL if lengths else None


def token_count(pipe: Any, text: str) -> int:
    """Tokens of a text, beginning and end not counted: the most of the pipeline's tokenizers."""
    counts = [len(tokenizer(text).input_ids) - _SPECIAL for tokenizer in _tokenizers(pipe)]
    return max(counts, default=0)


def _tokenizers(pipe: Any) -> list[Any]:
    parts = pipe.components
    return [parts[name] for name in ("tokenizer", "tokenizer_2") if parts.get(name) is not None]


def parts_of(pipe: Any, text: str) -> list[str]:
    """A text in parts that fit the encoders, cut after commas where possible, else after words.

    A single word that does not fit is a part of its own, which the encoder cuts off.
    """
    limit = text_length(pipe)
    if limit is None or token_count(pipe, text) <= limit:
        return [text]
    parts, current = [], ""
    for piece in _pieces(pipe, text, limit):
        longer = f"{current} {piece}".strip()
        if current and token_count(pipe, longer) > limit:
            parts.append(current)
            current = piece
        else:
            current = longer
    return [*parts, current]


def _pieces(pipe: Any, text: str, limit: int) -> list[str]:
    """Phrases between commas; those that do not fit, word by word."""
    phrases = [phrase.strip() for phrase in re.findall(r"[^,]+,?", text)]
    pieces: list[str] = []
    for phrase in phrases:
        pieces += [phrase] if token_count(pipe, phrase) <= limit else phrase.split()
    return pieces


def long_prompt(pipe: Any, prompt: str, negative: str, *, guided: bool) -> dict[str, object]:
    """Embeddings of a prompt and a negative prompt as the stock pipeline's call takes them; each
    part is encoded by the pipeline itself, and pooled embeddings are those of the first part.

    guided: embeddings of the negative prompt are needed
    """
    rows = [parts_of(pipe, text) for text in (prompt, negative)]
    count = max(map(len, rows))
    positive, negative_parts = ([*row, *[""] * (count - len(row))] for row in rows)
    encoded = [
        pipe.encode_prompt(
            prompt=text, negative_prompt=against, device=pipe.device, num_images_per_prompt=1,
            do_classifier_free_guidance=guided,
        )
        for text, against in zip(positive, negative_parts, strict=True)
    ]  # fmt: skip
    names = (
        "prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    )  # fmt: skip
    columns = dict(zip(names, zip(*encoded, strict=True), strict=False))
    return {
        name: column[0] if "pooled" in name else torch.cat(column, dim=1)
        for name, column in columns.items()
        if column[0] is not None
    }
