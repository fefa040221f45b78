"""Names that somebody will type or that a platform will send."""

HOSTILE = [
    "'; DROP TABLE jobs; --",
    '"><script>alert(1)</script>',
    "$(reboot) `reboot` {{ 7*7 }} {% url 'x' %}",
    "two\nlines\tand a tab",
    "\U0001f4a9\u200d\U0001f525 emoji",
    "\u202ekcab\u202c right to left \u05d0\u05d1\u05d2",
    "x" * 400,
    "../../etc/passwd",
]


def of(name: str) -> str:
    """A test's name for one of them."""
    return ascii(name[:12]).strip("'\"")
