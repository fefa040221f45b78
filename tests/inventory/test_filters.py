"""The one machine filter: what it finds, and that what it can't understand finds nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.http import QueryDict

from inventory.filters import MachineFilter
from inventory.models import LibraryShare, StoredResource
from inventory.sync import sync
from ovmst_site import clock
from ovmst_site.access.gate import SERVICE
from ovmst_site.access.models import Membership, Person, Team
from tests.factories import LabSite


@pytest.fixture
def machines(lab: LabSite) -> LabSite:
    lab.machine("m1", name="Web 1", operating_system="Debian 12", computer_name="WEB01")
    lab.machine("m2", name="ärger ' % _", operating_system="Debian 13", uuid="ABCD-1")
    lab.machine("m3", name="Vorlage", kind="template", operating_system="Debian 13")
    sync(lab.server, clock.now())
    return lab


def found(by: Any = SERVICE, **parameters: Any) -> list[str]:
    asked = MachineFilter({k: str(v) for k, v in parameters.items()}, by=by)
    assert not asked.errors, asked.errors
    return sorted(asked.qs.values_list("external_id", flat=True))


def test_search_looks_into_names_ids_computers_and_uuids(machines: LabSite):
    assert found(q="web") == ["m1"]
    assert found(q="web01") == ["m1"]
    assert found(q="abcd") == ["m2"]
    assert found(q="M3") == ["m3"]
    assert found(q="ÄRGER") == ["m2"]
    assert found(q="%") == ["m2"]  # not a wildcard
    assert found(q="' OR 1=1 --") == []
    assert found() == ["m1", "m2", "m3"]


def test_each_field_narrows_down(machines: LabSite):
    assert found(operating_system="Debian 13") == ["m2", "m3"]
    assert found(kind="template") == ["m3"]
    assert found(share=machines.share.pk) == ["m1", "m2", "m3"]
    assert found(management_server=machines.server.pk, kind="machine") == ["m1", "m2"]
    m1, m2, m3 = StoredResource.objects.order_by("external_id")
    long_ago = clock.now() - timedelta(days=31)
    StoredResource.objects.filter(pk=m1.pk).update(compliant_at=long_ago, compliance="compliant")
    StoredResource.objects.filter(pk=m2.pk).update(compliant_at=clock.now(), first_in_line=True, handed_out_to="x")
    StoredResource.objects.filter(pk=m3.pk).update(missing_since=clock.now())
    assert found(compliance="compliant") == ["m1"]
    assert found(serviced_before=30) == ["m1", "m3"]
    assert found(serviced_before=40) == ["m3"]
    assert found(first_in_line="yes") == ["m2"]
    assert found(first_in_line="no") == ["m1", "m3"]
    assert (found(state="library"), found(state="missing"), found(state="handed_out")) == (["m1"], ["m3"], ["m2"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("operating_system", "Debian 11"),
        ("kind", "nonsense"),
        ("share", "99999999999999999999999"),
        ("share", "x"),
        ("management_server", "-1"),
        ("compliance", "fine"),
        ("state", "servicing"),  # servicing's own filter has it
        ("serviced_before", "soon"),
        ("serviced_before", "-1"),
        ("serviced_before", "1.5"),
        ("serviced_before", "99999999999999999999"),
        ("first_in_line", "maybe"),
        ("q", "x" * 300),
        ("q", "a\0b"),
        ("q", "\ud800"),
    ],
)
def test_what_is_not_valid_is_said_and_finds_nothing(machines: LabSite, name: str, value: str):
    asked = MachineFilter({name: value}, by=SERVICE)
    assert not asked.qs.exists()
    assert list(asked.errors) == [name]
    with pytest.raises(ValidationError) as refused:
        asked.cleaned()
    assert list(refused.value.message_dict) == ["filter"]
    assert "not valid" in asked.described()


def test_unknown_names_are_a_pages_own_but_cannot_be_saved(machines: LabSite):
    page = QueryDict("sort=name&kind=template&q=")
    assert MachineFilter(page, by=SERVICE).qs.count() == 1
    assert MachineFilter.own(page) == {"kind": "template"}
    with pytest.raises(ValidationError, match="sort"):
        MachineFilter(page, by=SERVICE).cleaned()
    assert MachineFilter(MachineFilter.own(page), by=SERVICE).cleaned() == {"kind": "template"}


def test_a_filter_can_be_told(machines: LabSite):
    asked = MachineFilter(
        {"kind": "template", "share": str(machines.share.pk), "serviced_before": "30"}, by=SERVICE
    )
    assert asked.described() == (
        "kind: template, library share: gold on library-1, not brought to compliant for (days): 30"
    )
    assert MachineFilter({}, by=SERVICE).described() == "all machines"


def test_another_teams_machines_and_choices_do_not_exist(machines: LabSite):
    other = Team.objects.create(name="Other")
    theirs = LibraryShare.objects.create(library_server=machines.share.library_server, path="theirs", team=other)
    StoredResource.objects.filter(external_id="m1").update(team=other, share=theirs)
    person = Person.objects.create_user("one")
    Membership.objects.create(person=person, team=other)
    assert found(by=person) == ["m1"]
    choices = MachineFilter({}, by=person).form.fields
    assert [share.path for share in choices["share"].queryset] == ["theirs"]
    assert [value for value, _ in choices["operating_system"].choices if value] == ["Debian 12"]
    assert MachineFilter({"share": str(machines.share.pk)}, by=person).errors
    nobody = Person.objects.create_user("nobody")
    assert found(by=nobody) == []
    assert not MachineFilter({}, by=nobody).form.fields["management_server"].queryset.exists()
