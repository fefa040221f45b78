"""Text from outside, made fit to be stored and shown."""

import re
import unicodedata
from typing import Any

# Controls, surrogates, and what turns the direction of all that follows. Line breaks and tabs are for `one_line`.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


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


# Letters and symbols by their category, and yet drawn as nothing: Hangul fillers, the empty braille pattern.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def can_be_seen(text: str) -> bool:
    """Whether a reader sees any of it: a character that is no space, control, or mark upon another."""
    return any(unicodedata.category(c)[0] not in "ZCM" and c not in _BLANK for c in text)


def printable(text: str) -> str:
    """Fit for a screen: what a guest could steer a terminal, a browser or a reader's eye with is written out
    (\\x1b). Line breaks and tabs stay."""
    return _UNPRINTABLE.sub(lambda found: _escape(found[0]), text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same on one line: line breaks and tabs are written out too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
