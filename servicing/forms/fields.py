"""Fields that several forms have."""

import shlex
from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.utils import timezone

from ovmst_site import clock
from ovmst_site.access.gate import Actor, visible
from ovmst_site.access.models import Team
from ovmst_site.web.templatetags.web import one_line

LONGEST_COMMANDS = 10_000  # characters


class OneOfField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Rows by their names, which may hold anything; with their team where there is more than one."""

    with_team = False

    def label_from_instance(self, row: Model) -> str:
        name = one_line(row)
        return f"{name} ({one_line(getattr(row, 'team', ''), 40)})" if self.with_team else name


class CommandsField(forms.CharField):
    """Commands, one a line, quoted as in a shell; a list of lists of words. Nothing is expanded or run here."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "class": "mono"})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=LONGEST_COMMANDS, required=False, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, list):
            return "\n".join(shlex.join(map(str, command)) for command in value if isinstance(command, list))
        return value

    def clean(self, value: Any) -> Any:
        text = super().clean(value).replace("\r\n", "\n").replace("\r", "\n")
        commands: list[list[str]] = []
        begun: list[str] = []
        begun_at, quote, goes_on = 1, "", False
        for number, line in enumerate(text.split("\n"), 1):
            begun_at = begun_at if begun else number
            begun.append(line)
            quote, goes_on = _open_at_the_end(line, quote)
            if goes_on:
                continue
            words = shlex.split("\n".join(begun))
            if words and not words[0]:
                raise ValidationError(f"Line {begun_at} names no program.")
            if words:
                commands.append(words)
            begun = []
        if goes_on:
            raise ValidationError(f"Line {begun_at}: a quotation has no end.")
        return commands


def _open_at_the_end(line: str, quote: str) -> tuple[str, bool]:
    """Which quotation is open at the end of a line that begins in `quote` (or ""), and whether the command goes
    on in the next line: by shlex's rules, but each line is read once, however many a quotation goes through."""
    escaped = False
    for character in line:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif character == quote:
            quote = ""
        elif character in "'\"" and not quote:
            quote = character
    return quote, bool(quote) or escaped


class StartField(forms.DateTimeField):
    """A moment to come, as a wall clock here shows it."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("label", "Planned start")
        zone = settings.TIME_ZONE
        kwargs.setdefault("help_text", f"Date and time in the time zone {zone}.")
        super().__init__(**kwargs)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Minutes are all that it shows; seconds that it doesn't show aren't a change."""
        try:
            before, now = self.to_python(initial), self.to_python(data)
        except ValidationError:
            return True
        return _minute(before) != _minute(now)


def _minute(moment: datetime | None) -> datetime | None:
    return moment.replace(second=0, microsecond=0) if moment else None


def must_lie_ahead(moment: datetime | None) -> datetime | None:
    """Raises ValidationError for a moment in the past, saying how late it is now."""
    if moment is not None and moment <= clock.now():
        now = timezone.localtime(clock.now())
        raise ValidationError(f"This moment is in the past: it is {now:%Y-%m-%d %H:%M} in {settings.TIME_ZONE}.")
    return moment


def teams_of(by: Actor) -> QuerySet[Team]:
    """The teams that somebody may make things for."""
    return visible(by, Team.objects.all(), "change")
