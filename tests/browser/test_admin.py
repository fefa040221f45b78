"""The administration in a browser: under the same policy and look as the pages, on every model's forms."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.urls import reverse
from playwright.sync_api import Page, expect

from ovmst_site.access.models import Membership, Person
from servicing import engine
from servicing.nudge import QUEUE
from tests.factories import LabSite
from tests.serving import Server

NewPage = Callable[..., Page]


@pytest.fixture
def root(shared_lab: LabSite) -> Person:
    person = Person.objects.create_superuser("root", "root@example.org", "correct horse battery")
    Membership.objects.create(person=person, team=shared_lab.job.team)
    return person


@pytest.fixture
def rows(shared_lab: LabSite) -> None:
    """At least one row of what a servicing leaves behind."""
    shared_lab.machine("m1", name="<b>web</b>")
    run = shared_lab.start()
    for _ in range(20):
        engine.advance_due(QUEUE)
        shared_lab.jump_to_next()
    assert run.targets.get().log.exists()


def models() -> list[Any]:
    return sorted(admin.site._registry, key=lambda model: model._meta.label_lower)


def test_no_page_of_it_breaches_the_policy(
    served: Server, new_page: NewPage, root: Person, rows: None, shared_lab: LabSite
):
    """new_page fails the test on any breach and on any error in the console. Each model's list, form, history
    and empty form."""
    page = new_page(root)
    page.goto("/admin/")
    expect(page).to_have_title("All that there is · OVMST administration")
    seen = 0
    for model in models():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        answer = page.goto(reverse(f"{name}_changelist"))
        assert answer is not None
        assert answer.ok, model
        row = model._default_manager.first()
        if row is not None:
            answer = page.goto(reverse(f"{name}_change", args=[row.pk]))
            assert answer is not None
            assert answer.ok, model
            answer = page.goto(reverse(f"{name}_history", args=[row.pk]))
            assert answer is not None
            assert answer.ok, model
            seen += 1
        if page.request.get(reverse(f"{name}_add")).ok:
            page.goto(reverse(f"{name}_add"))
            if "/admin/" in page.url:  # groups and jobs are made on their pages
                expect(page.locator("form .submit-row").first).to_be_visible()
    assert seen > 10


def test_its_widgets_work_under_the_policy(served: Server, new_page: NewPage, root: Person, shared_lab: LabSite):
    page = new_page(root)
    # A date picker
    page.goto(reverse("admin:access_person_change", args=[root.pk]))
    page.locator(".datetimeshortcuts a").nth(1).click()
    expect(page.locator(".calendarbox").first).to_be_visible()
    page.locator(".calendarbox .calendar td a").first.click()
    # An autocomplete, and one more row of an inline
    page.get_by_text("Add another Membership").click()
    page.locator("#memberships-0 .field-team .select2-selection, #memberships-0 .select2-selection").first.click()
    page.locator(".select2-search__field").last.fill("Virt")
    expect(page.locator(".select2-results__option", has_text="Virtualization")).to_be_visible()
    page.keyboard.press("Escape")
    # Search, a filter, an action
    page.goto(reverse("admin:inventory_managementserver_changelist"))
    page.locator("#searchbar").fill("lab")
    page.locator("#searchbar").press("Enter")
    page.locator("#action-toggle").check()
    page.locator("select[name=action]").select_option("sync")
    page.locator("button[name=index]").click()
    expect(page.locator(".messagelist")).to_contain_text("will be synced")
    # The theme is that of the pages.
    page.locator("[data-theme-switch]").first.click()
    theme = page.evaluate("document.documentElement.dataset.theme")
    page.goto("/")
    assert page.evaluate("document.documentElement.dataset.theme") == theme


def test_one_signs_in_on_our_page_and_comes_back(
    served: Server, new_page: NewPage, shared_lab: LabSite, settings: Any
):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]  # as the server reads them
    Person.objects.create_superuser("root", "root@example.org", "correct horse battery")
    page = new_page()
    page.goto("/admin/inventory/host/")
    expect(page.get_by_role("heading", level=1)).to_have_text("OVMST")
    page.locator("input[name=username]").fill("root")
    page.locator("input[name=password]").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{served.url}/admin/inventory/host/")
    page.get_by_role("link", name="Back to the pages").click()
    expect(page).to_have_url(f"{served.url}/")
