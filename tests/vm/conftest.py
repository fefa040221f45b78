"""Real guests on two libvirt hosts. One site for the whole session; its database is a real file, because
workers that are killed are processes of their own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from pytest_django.plugin import DjangoDbBlocker

from ovmst_site.text import printable
from servicing.models import RunTarget
from tests.vm import serviced as serviced_guests
from tests.vm.site import RealSite, log_of, real_site

_table: list[str] = []
_one_cycle: list[str] = []  # the guest's that took the most steps
# Tests of a guest that isn't serviced are no tests: they aren't collected.
collect_ignore = [] if serviced_guests.GUESTS == "all" else ["test_uefi.py"]


@pytest.fixture(autouse=True)
def seldom() -> None:
    """Here the clock is real: looks are as often as the settings say."""


@pytest.fixture(scope="session")
def site(django_db_blocker: DjangoDbBlocker) -> Iterator[RealSite]:
    if os.geteuid() != 0:
        pytest.fail("Real guests need root: libvirt hosts are started in namespaces of their own.")
    folder = Path(settings.DATA).parent / "site"
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)
        with real_site(folder) as made:
            yield made
        for target in RunTarget.objects.select_related("resource", "host", "run__job").order_by("pk"):
            took = (target.finished_at - target.created_at).total_seconds() if target.finished_at else 0
            name = " ".join(target.resource.name.split())[:32]
            _table.append(
                f"{name:32} {target.run.job.name:22} {target.outcome:16} {took:6.0f} s  {target.reason[:90]}"
            )
        longest = RunTarget.objects.filter(outcome="succeeded").order_by("-visit").first()
        if longest is not None:
            _one_cycle.append(f"{printable(longest.resource.name)}, on {longest.created_at:%Y-%m-%d}:")
            _one_cycle.extend(printable(line)[:150] for line in log_of(longest).splitlines())


@pytest.fixture(scope="session")
def serviced(site: RealSite) -> serviced_guests.Serviced:
    return serviced_guests.service_all(site)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _one_cycle:
        terminalreporter.section("one guest's cycle, step by step")
        for line in _one_cycle:
            terminalreporter.write_line(line)
    if _table:
        terminalreporter.section("guests and outcomes")
        for line in _table:
            terminalreporter.write_line(line)
