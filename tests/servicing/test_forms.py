"""Fields of forms, read as a person means them."""

import shlex

import pytest
from django.core.exceptions import ValidationError

from servicing.forms.fields import LONGEST_COMMANDS, CommandsField

ODD = [
    "'a\nb' c\nd",
    '"a\\"\nb" c',
    "a \\\nb\nc",
    "it\\'s\nd'o'ne",
    "'\\'\n\"'\"",
    "a # b\n\n  \n'x'\"y\"",
    '"\\',
    "\\\\\nb",
    "'a\n\n\nb' \"c\nd\"e\nf",
]


def by_trying(text: str) -> list[list[str]] | None:
    """The same slowly: whatever shlex doesn't read goes on in the next line."""
    commands, begun = [], ""
    for line in text.split("\n"):
        begun = f"{begun}\n{line}" if begun else line
        try:
            words = shlex.split(begun)
        except ValueError:
            continue
        commands += [words] if words else []
        begun = ""
    return None if begun else commands


@pytest.mark.parametrize("text", ODD)
def test_commands_are_read_by_a_shells_rules(text: str):
    expected = by_trying(text)
    if expected is None:
        with pytest.raises(ValidationError, match="a quotation has no end"):
            CommandsField(strip=False).clean(text)
    else:
        assert CommandsField(strip=False).clean(text) == expected


@pytest.mark.parametrize(
    ("text", "is_closed"),
    [
        ("'" + "\n" * 9990 + "x", False),
        ("'" + "\n" * 9990 + "x'", True),
        ("\\\n" * 5000, True),
        ("a\n" * 5000, True),
    ],
)
def test_a_quotation_through_many_lines_is_read_once(monkeypatch: pytest.MonkeyPatch, text: str, is_closed: bool):
    """A small form doesn't keep a processor for seconds: what is read is no more than what was sent."""
    read = []

    def split(text: str) -> list[str]:
        read.append(len(text))
        return shlex_split(text)

    shlex_split = shlex.split
    monkeypatch.setattr("servicing.forms.fields.shlex.split", split)
    field = CommandsField(strip=False)
    if is_closed:
        field.clean(text)
    else:
        with pytest.raises(ValidationError, match="a quotation has no end"):
            field.clean(text)
    assert sum(read) <= LONGEST_COMMANDS
