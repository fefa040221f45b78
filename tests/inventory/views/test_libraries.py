"""Libraries, management servers and syncs."""

from typing import Any

import pytest
from django.test import Client

from inventory.models import LibraryShare, ManagementServer, StoredResource, SyncRecord
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.access.models import Person
from tests.factories import LabSite
from tests.hostile import HOSTILE, of


@pytest.fixture
def root_page(db: None) -> Client:
    """A browser in which an administrator of the installation has signed in."""
    client = Client()
    client.force_login(Person.objects.create_superuser("root", "root@example.org", "correct horse battery"))
    return client


def test_shares_say_how_many_machines_they_hold(lab: LabSite, page: Client, others_page: Client):
    for n in range(3):
        lab.machine(f"m{n}")
    sync(lab.server, clock.now())
    StoredResource.objects.filter(external_id="m1").update(missing_since=clock.now())
    ((server, is_seen, ((share, count),)),) = page.get("/libraries/").context["groups"]
    assert (server.name, share.path, count["machines"], count["missing"]) == ("library-1", "gold", 3, 1)
    assert not is_seen
    assert "Your team has no library shares yet" in others_page.get("/libraries/").content.decode()


def test_servers_are_for_administrators_of_the_installation(lab: LabSite, page: Client, root_page: Client):
    assert "Sync now" not in page.get("/libraries/").content.decode()
    text = root_page.get("/libraries/").content.decode()
    assert "Sync now" in text
    assert "never" in text
    assert "0 of 4 at a time" in text
    assert page.post(f"/servers/{lab.server.pk}/sync/").status_code == 404
    assert ManagementServer.objects.get().sync_requested_at is None


def test_a_sync_is_asked_for_and_done_by_a_worker(lab: LabSite, root_page: Client):
    answer = root_page.post(f"/servers/{lab.server.pk}/sync/", follow=True)
    text = " ".join(answer.content.decode().split())
    assert "will be synced in a moment" in text
    assert "asked for by root" in text
    assert ManagementServer.objects.get().sync_requested_by == "root"


def test_a_disabled_server_isnt_synced_and_the_page_says_why(lab: LabSite, root_page: Client):
    ManagementServer.objects.update(enabled=False)
    assert "is disabled" in root_page.post(f"/servers/{lab.server.pk}/sync/", follow=True).content.decode()
    assert ManagementServer.objects.get().sync_requested_at is None


def test_a_sync_shows_what_it_found(lab: LabSite, page: Client, root_page: Client):
    lab.machine("m1", name="web")
    lab.machine("m2", name="<b>db</b>")
    sync(lab.server, clock.now())
    StoredResource.objects.filter(external_id="m1").update(name="old name")
    lab.world.outsiders.delete("m2")
    sync(lab.server, clock.now())
    first, second = SyncRecord.objects.order_by("pk")
    text = root_page.get("/syncs/").content.decode()
    assert f'href="/syncs/{first.pk}/"' in text
    assert f'href="/syncs/{second.pk}/"' in text
    text = " ".join(root_page.get(f"/syncs/{second.pk}/").content.decode().split())
    assert "old name → web" in text
    assert "missing 1" in text
    assert "&lt;b&gt;db&lt;/b&gt;" in text
    only = root_page.get(f"/syncs/{second.pk}/?what=missing", headers={"HX-Request": "true"})
    assert [change.name for change, _ in only.context["rows"]] == ["<b>db</b>"]
    for address in (f"/syncs/{second.pk}/", "/syncs/999/"):
        assert page.get(address).status_code == 404
    assert "administrators of the installation" in page.get("/syncs/").content.decode()


def test_a_sync_that_failed_says_why(lab: LabSite, root_page: Client):
    now = clock.now()
    record = SyncRecord.objects.create(
        server=lab.server, started_at=now, lease_until=now, by="ada", result="failed", reason="it <hung> up"
    )
    for address in ("/libraries/", "/syncs/", f"/syncs/{record.pk}/"):
        assert "it &lt;hung&gt; up" in root_page.get(address).content.decode()


@pytest.mark.parametrize("text", HOSTILE, ids=of)
def test_what_an_address_says_wrong_shows_something(lab: LabSite, root_page: Client, text: str):
    LibraryShare.objects.update(path=text[:500])
    lab.machine("m1", name=text)
    now = clock.now()
    record = SyncRecord.objects.create(server=lab.server, started_at=now, lease_until=now, by=text[:200])
    record.changes.create(name=text, what="damaged", detail={"reason": text})
    record.changes.create(name=text, what="twin", detail={"same": [text], "with": [text], "more": 3})
    record.changes.create(name=text, what="changed", detail={text: {"old": None, "new": [text]}})
    for address in ("/libraries/", "/syncs/", f"/syncs/{record.pk}/"):
        answer = root_page.get(address, {"server": text, "what": text, "page": text, "sort": text})
        assert answer.status_code == 200
        assert "<script>alert" not in answer.content.decode()


def test_the_number_of_queries_doesnt_grow(lab: LabSite, root_page: Client, django_assert_max_num_queries: Any):
    now = clock.now()
    made = SyncRecord.objects.create(
        server=lab.server, started_at=now, lease_until=now, by="x", result="succeeded", finished_at=now
    )
    made.changes.create(name="m", what="added")
    pages = ("/libraries/", "/syncs/", f"/syncs/{made.pk}/")
    few = []
    for address in pages:
        root_page.get(address)
        with django_assert_max_num_queries(14) as counted:
            root_page.get(address)
        few.append(len(counted))
    for n in range(50):
        server = ManagementServer.objects.create(name=f"server {n}", kind="lab", address=f"a{n}")
        library = server.library_servers.create(name="l")
        library.shares.create(path=f"share {n}", team=lab.job.team)
        SyncRecord.objects.create(
            server=server, started_at=now, lease_until=now, by="x", result="succeeded", finished_at=now
        )
        made.changes.create(name=f"m{n}", what="added")
    for address, most in zip(pages, few, strict=True):
        with django_assert_max_num_queries(most):
            root_page.get(address)
