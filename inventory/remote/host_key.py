"""A pinned SSH host key as people write it: a line as in a .pub file."""

import base64
import binascii
import hashlib


def read(text: str) -> tuple[str, bytes]:
    """Its type and content. Raises ValueError that says how it looks, for what isn't one."""
    fields = text.split()
    try:
        content = base64.b64decode(fields[1], validate=True)
        size = int.from_bytes(content[:4], "big")
        if content[4 : 4 + size] != fields[0].encode():
            raise ValueError("it isn't of the type it says")
    except (IndexError, ValueError, binascii.Error) as reason:
        raise ValueError(f"({reason}): 'ssh-ed25519 AAAA…' is how it looks") from reason
    return fields[0], content


def fingerprint(text: str) -> str:
    """As ssh-keygen -l shows it: "SHA256:…"; "" for what can't be read."""
    try:
        digest = hashlib.sha256(read(text)[1]).digest()
    except ValueError:
        return ""
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
