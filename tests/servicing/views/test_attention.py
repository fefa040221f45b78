"""What needs attention, in the header of every page and on its own."""

import threading
from typing import Any

import pytest
from django.test import Client

from inventory.models import Credential, Host, StoredResource
from ovmst_site.faults import TryLater
from servicing.models import Run, RunTarget
from servicing.views import looks
from tests.factories import LabSite


@pytest.fixture
def parked(lab: LabSite) -> RunTarget:
    """A machine that an outsider started while it was being serviced, and stopped again."""
    lab.machine("m1", name="<b>web</b> 1")
    run = lab.start()
    lab.run_until(run, "protect")
    lab.world.outsiders.start("m1", "h1")
    lab.run_to_end(run)
    lab.world.outsiders.stop("m1")
    return lab.serviced()


def test_every_page_says_so_until_it_is_resolved(
    lab: LabSite, page: Client, others_page: Client, parked: RunTarget
):
    for address in ("/", "/jobs/", "/groups/", "/help/", "/attention/"):
        text = page.get(address).content.decode()
        assert '<a class="attention-flag" href="/attention/" id="attention-link">' in text
    assert 'class="attention-flag"' not in others_page.get("/").content.decode()


def test_the_list_says_which_why_and_what_is_held(page: Client, parked: RunTarget):
    text = page.get("/attention/").content.decode()
    assert "&lt;b&gt;web&lt;/b&gt; 1" in text
    assert parked.reason[:40] in page.get("/attention/").context["listing"].page[0].reason
    assert f"a slot and {parked.reserved_mb} MiB on host-1" in " ".join(text.split())
    one = page.get(f"/attention/{parked.pk}/")
    assert "somebody else started it" in one.content.decode()
    assert one.context["since"] is not None


def test_it_is_brought_back(lab: LabSite, page: Client, parked: RunTarget):
    answer = page.post(f"/attention/{parked.pk}/", {"choice": "return", "reason": "It was a colleague."})
    assert answer["Location"] == "/attention/"
    lab.run_to_end(parked.run)
    parked.refresh_from_db()
    assert (parked.state, parked.resolved_by, parked.resolution) == ("finished", "ada", "It was a colleague.")
    assert parked.outcome == RunTarget.Outcome.RESTORED
    done = page.get(f"/attention/{parked.pk}/").content.decode()
    assert "It was a colleague." in done
    assert '<form method="post">' not in done


def test_closing_is_refused_while_it_lies_on_a_host(page: Client, parked: RunTarget):
    answer = page.post(f"/attention/{parked.pk}/", {"choice": "close", "reason": "done"})
    assert answer.status_code == 422
    assert "not in its library" in answer.content.decode()
    assert "\ndone</textarea>" in answer.content.decode()
    parked.refresh_from_db()
    assert parked.state == "attention"
    assert Host.objects.get().slots_used == 1


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"choice": "return", "reason": "  "}, "reason"),
        ({"choice": "return", "reason": ""}, "reason"),
        ({"choice": "return", "reason": "x" * 4001}, "reason"),
        ({"choice": "return", "reason": "a\0"}, "reason"),
        ({"choice": "", "reason": "why"}, "choice"),
        ({"choice": "$(reboot)", "reason": "why"}, "choice"),
    ],
)
def test_without_a_choice_and_a_reason_nothing_happens(
    page: Client, parked: RunTarget, data: dict[str, str], field: str
):
    answer = page.post(f"/attention/{parked.pk}/", data)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    parked.refresh_from_db()
    assert parked.state == "attention"


def test_what_is_resolved_already_is_said(lab: LabSite, page: Client, parked: RunTarget):
    data = {"choice": "return", "reason": "first"}
    page.post(f"/attention/{parked.pk}/", data)
    second = page.post(f"/attention/{parked.pk}/", data | {"reason": "second"})
    assert second.status_code == 422
    parked.refresh_from_db()
    assert parked.resolution == "first"


def test_another_teams_do_not_exist(others_page: Client, parked: RunTarget):
    assert "&lt;b&gt;web" not in others_page.get("/attention/").content.decode()
    address = f"/attention/{parked.pk}/"
    assert others_page.get(address).status_code == 404
    assert others_page.get(f"{address}platform/").status_code == 404
    assert others_page.post(address, {"choice": "return", "reason": "mine now"}).status_code == 404
    parked.refresh_from_db()
    assert parked.state == "attention"


def test_the_platform_is_asked(page: Client, parked: RunTarget):
    part = page.get(f"/attention/{parked.pk}/platform/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "on a host: h1" in " ".join(part.split())
    assert "of this servicing" in part
    assert "<html" in page.get(f"/attention/{parked.pk}/platform/").content.decode()


def test_a_fault_is_shown_as_a_fault(
    lab: LabSite, page: Client, parked: RunTarget, monkeypatch: pytest.MonkeyPatch
):
    def refuse(self: object, machine: object) -> None:
        raise TryLater("host-1 doesn't <i>answer</i>")

    monkeypatch.setattr(type(lab.platform), "observe", refuse)
    text = page.get(f"/attention/{parked.pk}/platform/").content.decode()
    assert "host-1 doesn&#x27;t &lt;i&gt;answer" in text
    assert "not the same as fine" in text


def test_a_key_that_does_not_fit_is_said(page: Client, parked: RunTarget):
    credential = Credential.objects.create(team=parked.run.job.team, name="lost", encrypted=b"sealed elsewhere")
    StoredResource.objects.update(credential=credential)
    text = page.get(f"/attention/{parked.pk}/platform/").content.decode()
    assert "sealed with a key" in text


def test_home_brings_the_flag_along(page: Client, parked: RunTarget):
    part = page.get("/", headers={"HX-Request": "true", "HX-Target": "now"}).content.decode()
    assert '<span id="attention-flag" hx-swap-oob="true">' in part
    assert '1<span class="flag-words"> needs attention' in part


def test_a_platform_that_hangs_does_not_hold_the_page(
    lab: LabSite, page: Client, parked: RunTarget, monkeypatch: pytest.MonkeyPatch
):
    let_go, asked = threading.Event(), []

    def hang(self: object, machine: object) -> Any:
        asked.append(machine)
        let_go.wait(60)
        raise TryLater("late")

    monkeypatch.setattr(type(lab.platform), "observe", hang)
    monkeypatch.setattr(looks, "LONGEST_LOOK", 0.05)
    for _ in range(3):
        assert "has not answered" in page.get(f"/attention/{parked.pk}/platform/").content.decode()
    assert len(asked) == 1
    asking = looks._asking[parked.pk]
    let_go.set()
    assert asking.over.wait(10)


def test_the_list_takes_as_many_queries_for_fifty_as_for_one(
    page: Client, parked: RunTarget, django_assert_max_num_queries: Any
):
    with django_assert_max_num_queries(10) as one:
        page.get("/attention/")
    resource, run = parked.resource, Run.objects.get()
    for n in range(49):
        resource.pk, resource.external_id, resource.uuid = None, f"c{n}", ""
        resource.save()
        RunTarget.objects.create(
            run=run, resource=resource, state="attention", cycle_version=1, created_at=run.started_at
        )
    with django_assert_max_num_queries(len(one)):
        assert page.get("/attention/").context["listing"].total == 50
