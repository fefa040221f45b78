"""One machine's page: facts, what happens now, history, generations, packages, and how it is reached."""

from typing import Any

import pytest
from django.test import Client

from inventory.models import Credential, StoredResource
from ovmst_site.access.models import Person, Team
from servicing.models import Generation, Group, PackageReport, RunTarget
from tests.factories import LabSite
from tests.hostile import HOSTILE, of

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


@pytest.fixture
def serviced(lab: LabSite) -> RunTarget:
    """A machine that was brought up to date once."""
    lab.machine("m1", name="web 1")
    lab.run_to_end(lab.start())
    return lab.serviced()


@pytest.fixture
def address(serviced: RunTarget) -> str:
    return f"/machines/{serviced.resource_id}/"


def test_a_machine_tells_its_story(serviced: RunTarget, address: str, page: Client):
    answer = page.get(address)
    text = answer.content.decode()
    assert '<span class="badge is-succeeded">succeeded</span>' in " ".join(text.split())
    assert f'href="/runs/{serviced.run_id}/"' in text
    assert f'href="/runs/{serviced.run_id}/targets/{serviced.pk}/"' in text
    assert f'href="{address}packages/{serviced.pk}/"' in text
    generation = Generation.objects.get()
    assert generation.name in text
    assert f'href="{address}groups/"' in text
    assert [group.name for group in page.get(f"{address}groups/").context["groups"]] == ["All x"]
    ((target, waited, took),) = answer.context["rows"]
    assert target == serviced
    assert waited + took == serviced.finished_at - serviced.created_at  # type: ignore[operator]


def test_what_happens_now_is_on_top(lab: LabSite, page: Client):
    lab.machine("m1")
    run = lab.start()
    lab.run_until(run, "protect")
    target = run.targets.get()
    text = " ".join(page.get(f"/machines/{target.resource_id}/").content.decode().split())
    assert "Now: being serviced" in text
    assert "<dd>protect" in text
    assert "host-1" in text


def test_one_without_history_says_the_next_step(lab: LabSite, page: Client):
    machine = StoredResource.objects.create(
        management_server=lab.server, share=lab.share, team=lab.job.team, external_id="m1", name="new"
    )
    text = page.get(f"/machines/{machine.pk}/").content.decode()
    assert "It has not been serviced yet" in text
    assert "No group holds it" in page.get(f"/machines/{machine.pk}/groups/").content.decode()


def test_another_teams_machine_isnt_there(serviced: RunTarget, address: str, others_page: Client):
    for part in ("", "edit/", f"packages/{serviced.pk}/"):
        assert others_page.get(address + part).status_code == 404
    assert others_page.post(address + "edit/", {"channel_kind": "ssh"}).status_code == 404


def test_packages_of_another_machine_arent_this_ones(lab: LabSite, serviced: RunTarget, page: Client):
    other = StoredResource.objects.create(
        management_server=lab.server, share=lab.share, team=lab.job.team, external_id="m2", name="other"
    )
    assert page.get(f"/machines/{other.pk}/packages/{serviced.pk}/").status_code == 404


def test_packages_are_narrowed_down(serviced: RunTarget, address: str, page: Client):
    PackageReport.objects.filter(target=serviced).delete()
    at = serviced.created_at
    before = {f"lib{n}": "1" for n in range(300)} | {"gone": "1"}
    after = {f"lib{n}": "2" if n < 150 else "1" for n in range(300)} | {"new": "1"}
    held = {"name": "samba", "installed": "1", "offered": "2", "origin": "", "security": True, "held": "hold"}
    PackageReport.objects.create(target=serviced, moment="before", taken_at=at, packages=before, pending=[])
    PackageReport.objects.create(target=serviced, moment="after", taken_at=at, packages=after, pending=[held])
    answer = page.get(f"{address}packages/{serviced.pk}/")
    made = answer.context["difference"]
    assert (len(made.installed), len(made.changed), len(made.removed), made.unchanged) == (1, 150, 1, 150)
    assert "samba" in answer.content.decode()
    narrow = page.get(f"{address}packages/{serviced.pk}/?q=LIB14", headers={"HX-Request": "true"})
    assert {c.name for c in narrow.context["difference"].changed} == {"lib14", *(f"lib14{n}" for n in range(10))}
    assert "samba" not in narrow.content.decode()
    everything = page.get(f"{address}packages/{serviced.pk}/?all=1&q=lib29").context["all_packages"]
    assert [name for name, _ in everything[1]] == ["lib29", *(f"lib29{n}" for n in range(10))]


@pytest.mark.parametrize("q", [*HOSTILE, "\0"], ids=of)
def test_any_search_for_packages_is_text(serviced: RunTarget, address: str, page: Client, q: str):
    answer = page.get(f"{address}packages/{serviced.pk}/", {"q": q, "all": "1"})
    assert answer.status_code == 200
    assert "<script>alert" not in answer.content.decode()


def test_generations_beyond_the_latest_are_asked_for(lab: LabSite, serviced: RunTarget, address: str, page: Client):
    Generation.objects.bulk_create(
        Generation(resource=serviced.resource, name=f"old{n}", published_at=serviced.created_at) for n in range(30)
    )
    assert "The latest 10 of 31" in " ".join(page.get(address).content.decode().split())
    assert len(page.get(f"{address}?generations=all").context["generations"]) == 31


def test_groups_by_filter_hold_it_while_it_matches(lab: LabSite, serviced: RunTarget, address: str, page: Client):
    team = lab.job.team
    Group.objects.create(team=team, name="fits", kind="filter", filter={"compliance": "compliant"})
    Group.objects.create(team=team, name="does not", kind="filter", filter={"compliance": "missing"})
    Group.objects.create(team=team, name="broken", kind="filter", filter={"share": "999"})
    answer = page.get(f"{address}groups/")
    assert [group.name for group in answer.context["groups"]] == ["All x", "fits"]
    assert [group.name for group in answer.context["unknown_groups"]] == ["broken"]
    assert "can't be told" in answer.content.decode()
    part = page.get(f"{address}groups/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert ">fits</a>" in part


def test_its_page_asks_as_much_with_many_saved_filters_and_each_costs_little(
    lab: LabSite, serviced: RunTarget, address: str, page: Client, django_assert_max_num_queries: Any
):
    def save(names: str, **more: str) -> None:
        filter = {"compliance": "compliant", "share": str(lab.share.pk), "operating_system": "Lab OS"} | more
        Group.objects.bulk_create(
            Group(team=lab.job.team, name=name, kind="filter", filter=filter) for name in names.split()
        )

    StoredResource.objects.update(operating_system="Lab OS")
    save("one")
    page.get(address)
    with django_assert_max_num_queries(45) as few:
        page.get(address)
    with django_assert_max_num_queries(25) as of_one:
        page.get(f"{address}groups/")
    save("two three four five six seven eight nine ten")
    with django_assert_max_num_queries(len(few)):
        page.get(address)
    with django_assert_max_num_queries(len(of_one) + 9):
        assert len(page.get(f"{address}groups/").context["groups"]) == 11


def sent(**more: Any) -> dict[str, Any]:
    return {
        "channel_kind": "ssh",
        "channel_address": "10.0.0.5",
        "channel_port": "2222",
        "channel_host_key": KEY,
        "credential": "",
    } | more


def test_how_it_is_reached_is_changed(lab: LabSite, serviced: RunTarget, address: str, page: Client):
    credential = Credential.objects.create(team=lab.job.team, name="root of web")
    answer = page.post(address + "edit/", sent(credential=credential.pk), follow=True)
    text = answer.content.decode()
    assert "Saved." in text
    assert "root of web" in text
    assert "SHA256:" in text
    machine = StoredResource.objects.get(pk=serviced.resource_id)
    assert (machine.channel_kind, machine.channel_address, machine.channel_port) == ("ssh", "10.0.0.5", 2222)
    assert machine.credential == credential


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channel_kind", ""),
        ("channel_kind", "telnet"),
        ("channel_address", "x" * 256),
        ("channel_address", "-oProxyCommand=reboot"),
        ("channel_address", "two words"),
        ("channel_address", "a\nb"),
        ("channel_address", "host\u202egnp"),
        ("channel_port", ""),
        ("channel_port", "0"),
        ("channel_port", "65536"),
        ("channel_port", "9" * 400),
        ("channel_port", "ssh"),
        ("channel_host_key", "x"),
        ("channel_host_key", "ssh-rsa " + KEY.split()[1]),
        ("channel_host_key", "<script>alert(1)</script>"),
        ("credential", "999"),
        ("credential", "x"),
    ],
)
def test_what_isnt_valid_is_said_at_its_field(
    serviced: RunTarget, address: str, page: Client, field: str, value: str
):
    before = StoredResource.objects.filter(pk=serviced.resource_id).values().get()
    answer = page.post(address + "edit/", sent(**{field: value}))
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert StoredResource.objects.filter(pk=serviced.resource_id).values().get() == before


def test_a_credential_of_another_team_stays_until_another_is_chosen(
    lab: LabSite, serviced: RunTarget, address: str, page: Client, bob: Person
):
    theirs = Credential.objects.create(team=Team.objects.get(name="Others"), name="theirs")
    StoredResource.objects.update(credential=theirs)
    said = page.get(address + "edit/").content.decode()
    assert "the one that it has, of another team" in said
    assert ">theirs<" not in said
    assert page.post(address + "edit/", sent(channel_address="10.0.0.7")).status_code == 302
    machine = StoredResource.objects.get()
    assert (machine.credential, machine.channel_address) == (theirs, "10.0.0.7")
    own = Credential.objects.create(team=lab.job.team, name="own")
    assert page.post(address + "edit/", sent(credential=own.pk)).status_code == 302
    assert StoredResource.objects.get().credential == own
    assert "none of its own" in page.get(address + "edit/").content.decode()
    assert page.post(address + "edit/", sent(credential="")).status_code == 302
    assert StoredResource.objects.get().credential is None


def test_a_credential_of_another_team_cant_be_given(serviced: RunTarget, address: str, page: Client, bob: Person):
    theirs = Credential.objects.create(team=Team.objects.get(name="Others"), name="secret of others")
    assert "secret of others" not in page.get(address + "edit/").content.decode()
    assert page.post(address + "edit/", sent(credential=theirs.pk)).status_code == 422
    StoredResource.objects.update(credential=theirs)
    assert "secret of others" not in page.get(address).content.decode()


def test_its_page_asks_as_much_after_many_runs_as_after_one(
    lab: LabSite, serviced: RunTarget, address: str, page: Client, django_assert_max_num_queries: Any
):
    page.get(address)
    with django_assert_max_num_queries(45) as few:
        page.get(address)
    RunTarget.objects.bulk_create(
        RunTarget(
            run=serviced.run,
            resource=serviced.resource,
            cycle_version=1,
            created_at=serviced.created_at,
            finished_at=serviced.created_at,
            state="finished",
            outcome="skipped",
        )
        for _ in range(50)
    )
    with django_assert_max_num_queries(len(few)):
        page.get(address)
