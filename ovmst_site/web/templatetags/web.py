"""What templates need beyond Django's own tags."""

import shlex
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.template.defaultfilters import date as format_date
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from lucide.templatetags.lucide import lucide

from ovmst_site import clock
from ovmst_site.text import can_be_seen

register = template.Library()

NO_VISIBLE_NAME = "(no visible name)"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@register.simple_tag
def icon(name: str, size: int = 16) -> str:
    """An icon that says nothing to screen readers: the text beside it does."""
    return str(lucide(name, size=size, aria_hidden="true", focusable="false", **{"class": "icon"}))


@register.filter
def duration(value: timedelta | float | None) -> str:
    """Two units at most: "2 h 5 min", "40 s". Nothing for None."""
    if value is None:
        return ""
    rest = int(value.total_seconds() if isinstance(value, timedelta) else value)
    if rest < 1:
        return "0 s"
    at = next(i for i, (seconds, _) in enumerate(_UNITS) if rest >= seconds)
    parts: list[str] = []
    for seconds, unit in _UNITS[at : at + 2]:
        number, rest = divmod(rest, seconds)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts)


@register.filter
def since(moment: datetime | None) -> str:
    """How long ago, or in how long: "3 d 2 h ago", "in 5 min". Nothing for None."""
    if moment is None:
        return ""
    away = clock.now() - moment
    if abs(away) < timedelta(seconds=1):
        return "now"
    return f"{duration(away)} ago" if away > timedelta(0) else f"in {duration(-away)}"


@register.filter
def moment(value: datetime | None) -> SafeString | str:
    """A time as a <time> element: in the installation's time zone for people, exact for programs."""
    if value is None:
        return ""
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        since(value),
        format_date(local, "Y-m-d H:i"),
    )


@register.filter
def one_line(value: Any, longest: int = 120) -> str:
    """A name that may hold anything, for one line: no line breaks or direction overrides, of bounded length. One
    that nobody could see, or click on, says so; an empty one stays empty."""
    if value != "" and not can_be_seen(str(value)):
        return NO_VISIBLE_NAME
    text = "".join(c for c in " ".join(str(value).split()) if c.isprintable())
    return text if len(text) <= longest else text[: longest - 1] + "…"


@register.filter
def or_else(value: Any, other: Any) -> Any:
    """`value`, or `other` where nothing of it can be seen: a machine's name, else its id."""
    return value if value is not None and can_be_seen(str(value)) else other


@register.filter
def in_words(step: Any) -> str:
    """A step's name for people: "shut down"."""
    return str(step).replace("_", " ")


@register.filter
def counted(number: int, noun: str) -> str:
    """ "1 job", "3 jobs": the noun takes an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@register.filter
def command(words: Any) -> str:
    """A command as it would be typed."""
    return shlex.join(map(str, words)) if isinstance(words, list) else str(words)


@register.filter
def size(value: int | None) -> str:
    """Bytes for people: "20 GB", "1.5 TB", by thousands. Nothing for None and for 0, which means not known."""
    if not value:
        return ""
    amount, units = float(value), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    for larger in units:
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}" if amount < 999.5 else f"{amount:.0f} {unit}"


@register.filter
def percent_of(used: int, limit: int) -> str:
    """From "0" to "100", for a bar: a limit of 0 that something takes is full."""
    if limit <= 0:
        return "100" if used > 0 else "0"
    return f"{min(100.0, max(0.0, 100 * used / limit)):.4g}"


@register.filter
def slug_of(value: Any) -> str:
    """An outcome or state as part of a class name: "needs attention" is "needs-attention"."""
    return "-".join(str(value).split()) or "none"


@register.simple_tag(takes_context=True)
def here(context: template.Context, prefix: str) -> SafeString | str:
    """`aria-current` for the navigation entry that this page is under."""
    path = context["request"].path
    inside = path == "/" if prefix == "/" else path.startswith(prefix)
    return SafeString(' aria-current="page"') if inside else ""
