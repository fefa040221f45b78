"""How pages and sync grow with the inventory, side by side in one run: `make bench`. Nothing here judges by the
clock, for machines are shared and noisy; the table is for people, and what is asserted is the number of queries."""

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from inventory.models import StoredResource
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.access.models import Person
from tests.factories import SHARE, LabSite, make_lab_site

pytestmark = [pytest.mark.django_db, pytest.mark.benchmark]

SMALL, LARGE = 100, 50_000
SYNCED = 10_000
ROUNDS = 5
PAGES = {
    "machines": "/machines/",
    "machines, searched": "/machines/?q=web-1",
    "machines, last page by size": "/machines/?sort=-size&page=1000",
    "groups": "/groups/",
    "jobs": "/jobs/",
    "runs": "/runs/",
    "hosts": "/hosts/",
    "libraries": "/libraries/",
    "home": "/",
    "attention": "/attention/",
}
_table: list[str] = []


@pytest.fixture(autouse=True, scope="module")
def table() -> Iterator[None]:
    yield
    print("\n" + "\n".join(_table))


def measured(act: Callable[[], Any], rounds: int = ROUNDS) -> tuple[int, float]:
    """Queries, and milliseconds (the median of some rounds after one to warm up)."""
    with CaptureQueriesContext(connection) as queries:
        act()
    number = len(queries)  # now: the next request forgets them
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        act()
        took.append((time.perf_counter() - begun) * 1000)
    return number, median(took)


def add_machines(site: LabSite, number: int) -> None:
    have = StoredResource.objects.count()
    systems = ("Debian 12", "Ubuntu 24.04", "Windows Server 2022")
    states = ("compliant", "missing", "nothing offered", "unknown")
    StoredResource.objects.bulk_create(
        (
            StoredResource(
                management_server=site.server,
                share=site.share,
                team=site.share.team,
                external_id=f"machine-{n}",
                name=f"{('web', 'db', 'build')[n % 3]}-{n}",
                operating_system=systems[n % 3],
                compliance=states[n % 4],
                memory_mb=2048,
                disk_bytes=(n % 97) * 2**30,
                uuid=f"00000000-0000-0000-0000-{n:012}",
            )
            for n in range(have, number)
        ),
        batch_size=5000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def test_list_pages_at_100_and_at_50000_machines(lab: LabSite, client: Client):
    client.force_login(Person.objects.create_superuser("ada", "ada@example.org", "x"))
    figures: dict[str, list[tuple[int, float]]] = {name: [] for name in PAGES}
    for number in (SMALL, LARGE):
        add_machines(lab, number)
        for name, url in PAGES.items():
            assert client.get(url).status_code == 200, url
            figures[name].append(measured(lambda url=url: client.get(url)))  # type: ignore[misc]
    _table.append(f"{'page (' + connection.vendor + ')':32} {SMALL:>16} {LARGE:>18} machines")
    for name, ((few, ms), (many, slow)) in figures.items():
        _table.append(f"{name:32} {few:4} q {ms:7.1f} ms {many:4} q {slow:7.1f} ms   x{slow / ms:.1f}")
        assert many <= few + 2, f"{name}: {few} queries became {many}"


def test_sync_of_10000_machines(db: None, jumping_clock: Any):
    site = make_lab_site(jumping_clock, name="large")
    for n in range(SYNCED):
        site.machine(f"m{n}")
    for what in ("first sync, all new", "second sync, nothing changed"):
        with CaptureQueriesContext(connection) as queries:
            begun = time.perf_counter()
            sync(site.server, clock.now())
            took = time.perf_counter() - begun
        _table.append(f"sync of {SYNCED}: {what:28} {len(queries):5} queries {took:6.1f} s")
    assert StoredResource.objects.filter(share__path=SHARE, missing_since=None).count() == SYNCED
