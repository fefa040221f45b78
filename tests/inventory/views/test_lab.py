"""The lab's page: the world as it is, and deeds done in it."""

from typing import Any

import pytest
from django.test import Client

from inventory.lab.deeds import DEEDS
from inventory.models import ManagementServer
from tests.factories import LabSite
from tests.hostile import HOSTILE, of
from tests.inventory.views.test_libraries import root_page

__all__ = ["root_page"]


@pytest.fixture
def address(lab: LabSite) -> str:
    lab.machine("m1", name="<b>web</b>")
    return f"/lab/{lab.server.pk}/"


def test_its_world_is_shown_to_administrators_of_the_installation(
    lab: LabSite, address: str, page: Client, root_page: Client
):
    text = root_page.get(address).content.decode()
    assert "&lt;b&gt;web&lt;/b&gt;" in text
    assert "no promise broken" in text
    assert "Break something" in text
    assert f'href="{address}"' in root_page.get("/").content.decode()  # in the navigation
    assert page.get(address).status_code == 404
    assert page.post(address, {"deed": "crash", "target": "h1"}).status_code == 404
    assert f'href="{address}"' not in page.get("/").content.decode()


def test_htmx_refreshes_the_world_and_leaves_the_form(address: str, root_page: Client):
    part = root_page.get(address + "?deed=crash", headers={"HX-Request": "true"}).content.decode()
    assert 'hx-trigger="every 4s"' in part
    assert "<form" not in part


def test_a_host_is_cut_off_and_comes_back(lab: LabSite, address: str, root_page: Client):
    assert "Do it" in root_page.get(address + "?deed=cut+off").content.decode()
    answer = root_page.post(address, {"deed": "cut off", "target": "h1"}, follow=True)
    text = answer.content.decode()
    assert "Done. Cut it off: h1" in text
    assert "doesn't answer" in text
    root_page.post(address, {"deed": "back", "target": "h1"})
    assert "doesn't answer" not in root_page.get(address).content.decode()


def test_a_fault_is_asked_for_met_and_taken_back(lab: LabSite, address: str, root_page: Client):
    given = {"deed": "fail", "target": "m1", "call": "fetch", "times": "2", "reason": "no <cable>"}
    root_page.post(address, given)
    text = " ".join(root_page.get(address).content.decode().split())
    assert "no &lt;cable&gt;" in text
    root_page.post(address, {"deed": "forget faults"})
    assert "Faults to come" not in root_page.get(address).content.decode()


def test_a_broken_promise_is_said_loudly(lab: LabSite, address: str, root_page: Client):
    with lab.world.together() as state:
        state.violate("m1", "it was <lost>")
    text = root_page.get(address).content.decode()
    assert 'role="alert"' in text
    part = root_page.get(address, headers={"HX-Request": "true"}).content.decode()
    # Into the element that is there: it is announced when it changes, not at every refresh.
    assert part.count('role="alert"') == part.count('id="lab-alarm" role="alert" hx-swap-oob="innerHTML"') == 1
    assert "1 promise broken" in text
    assert "it was &lt;lost&gt;" in text


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.name)
@pytest.mark.parametrize("value", ["", *HOSTILE], ids=of)
def test_what_cant_be_done_is_said_at_its_form(
    lab: LabSite, address: str, root_page: Client, deed: Any, value: str
):
    if deed.on == "world" and not deed.arguments:
        pytest.skip("nothing is typed")
    answer = root_page.post(
        address, {"deed": deed.name, "target": value, **{a.name: value for a in deed.arguments}}
    )
    assert answer.status_code == 422
    assert answer.context["form"].non_field_errors()
    assert "<script>alert" not in answer.content.decode()


@pytest.mark.parametrize("query", ["deed=x", "where=x", "page=x", "page=0", "page=99999999", "q=%00", "page=7"])
def test_what_an_address_says_wrong_shows_the_world(address: str, root_page: Client, query: str):
    answer = root_page.get(f"{address}?{query}")
    assert answer.status_code == 200
    assert answer.context["page"] == 1


def test_a_deed_that_isnt_one_does_nothing(address: str, root_page: Client):
    assert "Nothing was done" in root_page.post(address, {"deed": "'; --"}, follow=True).content.decode()


def test_a_server_without_a_world_says_so(lab: LabSite, root_page: Client):
    other = ManagementServer.objects.create(name="empty", kind="lab", address="nowhere")
    answer = root_page.get(f"/lab/{other.pk}/")
    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()
    real = ManagementServer.objects.create(name="real", kind="libvirt")
    assert root_page.get(f"/lab/{real.pk}/").status_code == 404
