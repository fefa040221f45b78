"""Text from outside, made fit to be stored and shown."""

from typing import Any


def clean(text: str, longest: int = 20_000) -> str:
    """Without NUL (PostgreSQL refuses it) and lone surrogates (nothing can encode them), of bounded length in
    characters; all else stays as it is."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{SYMBOL FOR NULL}")
    return text if len(text) <= longest else text[: longest - 1] + "…"


def clean_json(value: Any) -> Any:
    """The same for every text in a JSON value, keys included."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean_json(k): clean_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [clean_json(v) for v in value]
    return value
