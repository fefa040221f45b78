"""What changed inside a guest, from two reports."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.template.loader import render_to_string

from servicing.models import PackageReport
from servicing.packages import Change, compare

# Templates say how long ago something was, by the database's clock.
pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def report(moment: str, packages: dict[str, str], *pending: dict[str, Any]) -> PackageReport:
    at = NOON if moment == "before" else NOON + timedelta(hours=1)
    return PackageReport(moment=moment, taken_at=at, packages=packages, pending=list(pending))


def update(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "installed": "1", "offered": "2", "origin": "", "security": False, "held": "", **more}


def test_packages_are_installed_changed_and_removed():
    found = compare(
        report("before", {"bash": "5.1", "old": "1", "zlib": "1.2"}),
        report("after", {"bash": "5.2", "new": "1", "zlib": "1.2"}),
    )
    assert found.installed == (Change("new", "", "1"),)
    assert found.changed == (Change("bash", "5.1", "5.2"),)
    assert found.removed == (Change("old", "1", ""),)
    assert found.unchanged == 1
    assert found.is_known
    text = render_to_string("servicing/packages.html", {"difference": found})
    assert "1 installed, 1 in another version" in " ".join(text.split())
    assert "Nothing was pending after." in text


def test_without_an_after_nothing_is_called_unchanged():
    found = compare(report("before", {"bash": "5.1"}, update("bash")), None)
    assert not found.is_known
    assert [p.name for p in found.pending] == ["bash"]
    text = render_to_string("servicing/packages.html", {"difference": found})
    assert "can&#x27;t be told" in text or "can't be told" in text
    assert "Nothing changed" not in text
    assert "No packages were listed" in render_to_string(
        "servicing/packages.html", {"difference": compare(None, None)}
    )


def test_pending_updates_come_by_what_they_mean():
    after = report(
        "after",
        {},
        update("phased", held="phased"),
        update("plain"),
        update("held-security", security=True, held="hold"),
        update("odd", held="a later version's word"),
    )
    found = compare(report("before", {}), after)
    assert [p.name for p in found.pending] == ["held-security", "odd", "plain", "phased"]
    assert [p.name for p in found.missing] == ["held-security", "odd", "plain"]
    assert [p.name for p in found.exceptions] == ["phased"]


def test_names_from_a_guest_are_text():
    found = compare(report("before", {}), report("after", {"<script>x</script>": "'\"$(reboot)"}))
    assert "<script>" not in render_to_string("servicing/packages.html", {"difference": found})
