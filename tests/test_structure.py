"""What holds for the whole tree."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command

from ovmst_site.access.paths import NoTeam

PROJECT = Path(__file__).resolve().parent.parent
OURS = ("access", "web", "inventory", "lab", "servicing")
LONGEST_FILE = 400
# Longer ones, each with its reason. None is better.
LONGER = {
    "tests/servicing/test_engine.py": "the cycle's cases, one after the other",
}


@pytest.mark.parametrize(
    "model", [m for m in apps.get_models() if m._meta.app_label in OURS], ids=lambda m: m.__name__
)
def test_every_model_says_which_team_its_rows_belong_to(model: type):
    path = getattr(model, "team_path", None)
    assert path is not None, f"{model.__name__} declares no team_path"
    if isinstance(path, NoTeam):
        assert len(path.reason) > 10
        return
    current = model
    for part in [] if path == "self" else path.split("__"):
        current = current._meta.get_field(part).related_model  # type: ignore[attr-defined]
    assert current.__name__ == "Team"


def test_imports_point_down():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_no_file_outgrows_its_room():
    found = {}
    for folder in ("ovmst_site", "inventory", "servicing", "tests"):
        for path in (PROJECT / folder).rglob("*.py"):
            lines = len(path.read_text().splitlines())
            if lines > LONGEST_FILE and "migrations" not in path.parts:
                found[str(path.relative_to(PROJECT))] = lines
    assert found.keys() == LONGER.keys(), found


@pytest.mark.django_db
def test_the_models_and_the_migrations_agree():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
