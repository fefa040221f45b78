"""Text from outside, made fit to be stored and shown."""

import re
from typing import Any

# C0 and C1 but tab and line feed; the bidirectional embeddings, overrides and isolates.
_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str, longest: int = 20_000) -> str:
    """Without NUL (PostgreSQL refuses it) and lone surrogates (nothing can encode them), of bounded length in
    characters; all else stays as it is."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{SYMBOL FOR NULL}")
    return text if len(text) <= longest else text[: longest - 1] + "…"


def printable(text: str) -> str:
    """For a terminal: control characters, and those that turn the direction of writing, by their numbers;
    line breaks and tabs stay."""
    return _STEERS.sub(lambda found: ascii(found[0])[1:-1], text)


def clean_json(value: Any) -> Any:
    """The same for every text in a JSON value, keys included."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean_json(k): clean_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [clean_json(v) for v in value]
    return value
