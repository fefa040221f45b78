"""What help says of the cycle is what the cycle does."""

from pathlib import Path

from django.conf import settings

from servicing import cycle
from servicing.cycle import Direction


def test_the_runs_help_names_every_step_in_its_order():
    text = (Path(settings.BASE_DIR) / "docs/help/run.md").read_text()
    forward, _, back = text.partition("**RETURN**")
    for part, direction in ((forward, Direction.FORWARD), (back, Direction.RETURN)):
        named = [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("| ")]
        assert [name for name in named if name != "step"] == [step.name for step in cycle.TABLES[direction]]
