"""What holds for every answer beyond the policy: what a browser may keep, names that nobody can see, icons."""

import pytest
from django.template import Context, Template
from django.test import Client, RequestFactory, override_settings
from django.views.defaults import permission_denied

from ovmst_site.access.models import Person
from ovmst_site.web.templatetags.web import NO_VISIBLE_NAME, one_line, or_else


def test_a_browser_keeps_pages_and_parts_apart(client: Client, db: None):
    client.force_login(Person.objects.create_superuser("root"))
    for path in ("/", "/machines/", "/hosts/", "/help/", "/admin/", "/no-such-page/", "/groups/sizes/"):
        for headers in ({}, {"HX-Request": "true", "HX-Target": "stock"}):
            answer = client.get(path, headers=headers)
            assert "HX-Request" in answer["Vary"], path
            assert "private" in answer["Cache-Control"], path
            assert "no-cache" in answer["Cache-Control"], path
    assert "public" in client.get("/static/web/ovmst.css")["Cache-Control"]


@pytest.mark.parametrize(
    "name",
    [" ", "\u200b", "\u200d\u2060", "\u3164", "\u2800\u115f", "\u202e", "\ufe0f\u034f", "\n\t\u00a0"],
    ids=ascii,
)
def test_a_name_that_nobody_sees_says_so(name: str):
    assert one_line(name) == NO_VISIBLE_NAME
    assert or_else(name, "id-7") == "id-7"


@pytest.mark.parametrize("name", ["a", "\u05d0", "\U0001f4a9\u200d\U0001f525", "-", "0", "\u200bx"], ids=ascii)
def test_a_name_that_is_seen_stays(name: str):
    assert NO_VISIBLE_NAME not in one_line(name)
    assert or_else(name, "id-7") == name


def test_an_empty_text_stays_empty():
    assert one_line("") == ""
    assert Template("{% load web %}{{ x|one_line|default:'none' }}").render(Context({"x": ""})) == "none"


def test_an_icon_has_its_class():
    drawn = Template('{% load web %}{% icon "play" %}').render(Context())
    assert 'class="icon' in drawn
    assert 'aria-hidden="true"' in drawn
    assert "class-" not in drawn


@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000)
def test_too_long_a_form_is_told_so(client: Client, db: None):
    client.force_login(Person.objects.create_superuser("root"))
    answer = client.post("/jobs/new/", {"name": "x" * 2000})
    assert answer.status_code == 400
    assert "Nothing was changed" in answer.content.decode()


def test_what_is_forbidden_is_told_so():
    answer = permission_denied(RequestFactory().get("/"), PermissionError())
    assert answer.status_code == 403
    assert "You may not do this" in answer.content.decode()
