"""The run page, what people do there, and each target's own page."""

import re
import time

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from ovmst_site import clock
from ovmst_site.access.models import Person
from servicing.actions import cancel_run
from servicing.models import Event, Run, RunTarget
from servicing.tally import tally
from tests.factories import LabSite
from tests.servicing.views.rows import make_run

HTMX = {"HX-Request": "true"}
HOSTILE = "'\"<b>$(reboot)</b>\n\u202eevil 💥" + "x" * 400


def shown(text: str) -> set[int]:
    """The targets that a page lists."""
    return {int(n) for n in re.findall(r'id="target-(\d+)"', text)}


def figure(text: str, key: str) -> int:
    found = re.search(rf'id="figure-{key}".*?<b>(\d+)</b>', text, re.DOTALL)
    assert found, key
    return int(found[1])


def test_a_run_in_the_middle(page: Client, lab: LabSite):
    run = make_run(lab, 12)
    said = page.get(f"/runs/{run.pk}/").content.decode()
    assert [figure(said, key) for key in ("all", "succeeded", "restored", "attention", "active", "queued")] == [
        12, 2, 2, 2, 4, 2,
    ]  # fmt: skip
    assert len(shown(said)) == 12
    assert "10 of 16" in said  # install
    assert "RETURN" in said
    assert "2 of 5" in said  # rewind
    assert "installing 3 of 7" in said
    assert f"/runs/{run.pk}/cancel/" in said
    assert "that didn't succeed" not in said.replace("over, but didn't succeed", "")
    assert 'hx-trigger="run-changed from:body' in said


def test_what_hangs_is_on_top(page: Client, lab: LabSite):
    run = make_run(lab, 12)
    said = page.get(f"/runs/{run.pk}/").content.decode()
    order = [int(n) for n in re.findall(r'id="target-(\d+)"', said)]
    by_pk = {t.pk: t for t in run.targets.all()}
    states = [by_pk[pk].state for pk in order]
    assert states == ["attention"] * 2 + ["active"] * 4 + ["queued"] * 2 + ["finished"] * 4
    active = [by_pk[pk].entered_at or clock.now() for pk in order[2:6]]
    assert active == sorted(active)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("standing=succeeded", 2),
        ("standing=active", 4),
        ("standing=open", 6),
        ("standing=trouble", 4),
        ("step=forward.install", 2),
        ("step=return.rewind", 2),
        ("step=forward.release", 0),
        ("q=VM-0000", 10),
        ("q=vm-0000&standing=queued", 1),
        ("standing=nonsense", 0),
        ("step=forward.nonsense", 0),
        ("q=%00", 0),
        ("q=" + "x" * 300, 0),
        ("q=%27%22%24%28reboot%29%0A%F0%9F%92%A5%E2%80%AE", 0),
        ("sort=-name&page=7", 12),
        ("sort=host", 12),
        ("sort=state", 12),
    ],
)
def test_targets_are_filtered_by_their_address(page: Client, lab: LabSite, query: str, count: int):
    run = make_run(lab, 12)
    answer = page.get(f"/runs/{run.pk}/?{query}")
    assert answer.status_code == 200
    assert len(shown(answer.content.decode())) == count


def test_the_part_that_refreshes_brings_the_counts_along_and_keeps_the_filter(page: Client, lab: LabSite):
    run = make_run(lab, 120)
    said = page.get(f"/runs/{run.pk}/?standing=active&page=1&sort=name", headers=HTMX).content.decode()
    assert "<html" not in said
    assert 'id="run-state" hx-swap-oob="true"' in said
    assert f'hx-get="/runs/{run.pk}/?standing=active&amp;page=1&amp;sort=name"' in said
    assert "40 of 120 machines" in said
    assert 'name="sort" value="name"' in said


def test_a_finished_run_is_quiet(page: Client, lab: LabSite):
    lab.machine("m1")
    lab.machine("m2")
    run = lab.start()
    lab.run_to_end(run)
    run.refresh_from_db()
    said = page.get(f"/runs/{run.pk}/").content.decode()
    assert ">finished<" in said
    assert 'hx-trigger="run-changed' not in said
    assert "every 10s" not in said
    assert "/cancel/" not in said
    assert "/retry/" not in said, "nothing is left to retry"


def test_what_a_person_may_not_see_is_not_there(others_page: Client, lab: LabSite):
    run = make_run(lab, 2)
    target = run.targets.first()
    assert target is not None
    for path in ("", "cancel/", f"targets/{target.pk}/"):
        assert others_page.get(f"/runs/{run.pk}/{path}").status_code == 404
    for path in ("cancel/", "retry/"):
        assert others_page.post(f"/runs/{run.pk}/{path}").status_code == 404
    assert not run.targets.exclude(cancel_requested_at=None).exists()
    assert Run.objects.count() == 1


def test_what_a_person_resolved_needs_no_attention_any_more(page: Client, lab: LabSite):
    run = make_run(lab, 4, finished=True)
    run.targets.filter(outcome=RunTarget.Outcome.RESTORED).update(outcome=RunTarget.Outcome.RESOLVED)
    said = " ".join(page.get(f"/runs/{run.pk}/").content.decode().split())
    assert "<b>2</b> resolved by a person" in said
    assert "2 need attention" not in said


def test_a_target_belongs_to_its_run(page: Client, lab: LabSite):
    first, second = make_run(lab, 1), make_run(lab, 1)
    assert page.get(f"/runs/{first.pk}/targets/{second.targets.get().pk}/").status_code == 404


def test_cancelling_asks_first_and_says_what_it_means(page: Client, ada: Person, lab: LabSite):
    run = make_run(lab, 12)
    said = page.get(f"/runs/{run.pk}/cancel/").content.decode()
    assert "2 queued" in said
    assert "4 being serviced" in said
    assert not run.targets.exclude(cancel_requested_at=None).exists(), "asking changes nothing"
    answer = page.post(f"/runs/{run.pk}/cancel/", follow=True)
    assert "2 queued machines skipped and 4 machines asked to turn back." in answer.content.decode()
    asked = run.targets.exclude(cancel_requested_at=None)
    assert set(asked.values_list("state", flat=True)) == {"queued", "active"}
    assert set(asked.values_list("cancel_requested_by", flat=True)) == {"ada"}
    again = page.post(f"/runs/{run.pk}/cancel/", follow=True)
    assert "Nothing was left to cancel." in again.content.decode()


def test_a_retry_takes_up_as_many_as_its_button_says(page: Client, ada: Person, lab: LabSite):
    for name in ("m1", "m2", "m3"):
        lab.machine(name)
    run = lab.start()
    cancel_run(run, ada)
    lab.run_to_end(run)
    said = page.get(f"/runs/{run.pk}/").content.decode()
    assert tally(run.pk).retried == 3
    assert "Retry 3 that didn't succeed" in said
    answer = page.post(f"/runs/{run.pk}/retry/", follow=True)
    again = Run.objects.exclude(pk=run.pk).get()
    assert again.targets.count() == 3
    assert answer.redirect_chain[-1][0] == f"/runs/{again.pk}/"
    assert f"run {run.pk}</a>" in answer.content.decode()
    assert f"run {again.pk}</a>" in page.get(f"/runs/{run.pk}/").content.decode()


def test_a_run_that_goes_on_is_not_retried(page: Client, lab: LabSite):
    run = make_run(lab, 4)
    answer = page.post(f"/runs/{run.pk}/retry/", follow=True)
    assert "over yet" in answer.content.decode()
    assert Run.objects.count() == 1


def test_a_retry_with_nothing_left_is_refused(page: Client, lab: LabSite):
    lab.machine()
    run = lab.start()
    lab.run_to_end(run)
    answer = page.post(f"/runs/{run.pk}/retry/", follow=True)
    assert "is left to retry" in answer.content.decode()
    assert Run.objects.count() == 1


@pytest.mark.parametrize("path", ["cancel/", "retry/"])
def test_changes_are_posts_with_a_token(ada: Person, lab: LabSite, path: str):
    run = make_run(lab, 2)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ada)
    assert browser.post(f"/runs/{run.pk}/{path}").status_code == 403


def test_a_targets_way_shows_steps_operations_and_packages(page: Client, lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    lab.run_to_end(run)
    target = run.targets.get()
    said = page.get(f"/runs/{run.pk}/targets/{target.pk}/").content.decode()
    for step in target.step_records.values_list("step", flat=True):
        assert f"{step.replace('_', ' ')}</th>" in said
    operations = list(target.operations.values_list("name", flat=True))
    assert operations
    for name in operations:
        assert name in said
    assert "Packages that changed" in said or "Nothing changed" in said
    generation = target.generations.get()
    assert generation.name in said
    assert "every 5s" not in said, "what is over doesn't poll"


def test_a_target_on_its_way_shows_where_it_is(page: Client, lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    lab.run_until(run, "install")
    target = run.targets.get()
    said = page.get(f"/runs/{run.pk}/targets/{target.pk}/", headers=HTMX).content.decode()
    assert "so far" in said
    assert "10 of 16" in said
    assert "every 5s" in said


def test_a_targets_log_stays_while_the_rest_refreshes_and_fetches_what_is_new(page: Client, lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    target = run.targets.get()
    address = f"/runs/{run.pk}/targets/{target.pk}/"
    assert "Nothing has been said yet" in page.get(address).content.decode()
    lab.run_until(run, "install")
    assert "log-line" not in page.get(address, headers=HTMX).content.decode()
    whole = page.get(address)
    assert whole.content.decode().count("log-line") == Event.objects.filter(target=target).count() > 0
    follow = whole.context["log"]["follow"]
    assert escape(follow) in whole.content.decode()
    assert "log-line" not in page.get(follow, headers=HTMX).content.decode()
    lab.run_to_end(run)
    seen = whole.content.decode().count("log-line")
    last = page.get(follow, headers=HTMX).content.decode()
    assert last.count("log-line") == Event.objects.filter(target=target).count() - seen > 0
    assert "hx-trigger" not in last, "what is over isn't followed"
    assert "<html" not in last


def test_a_queued_target_has_no_way_yet(page: Client, lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    said = page.get(f"/runs/{run.pk}/targets/{run.targets.get().pk}/").content.decode()
    assert "It has not begun." in said
    assert "No packages were listed" in said


def test_a_step_of_another_version_is_shown_as_unknown_not_guessed(page: Client, lab: LabSite):
    run = make_run(lab, 3)
    run.targets.filter(state="active").update(step="levitate")
    said = page.get(f"/runs/{run.pk}/").content.decode()
    assert "levitate" in said
    assert "? of 16" in said


def test_names_are_text(page: Client, lab: LabSite):
    run = make_run(lab, 6)
    machine = run.targets.filter(state="active").first().resource  # type: ignore[union-attr]
    machine.name = HOSTILE
    machine.save()
    lab.job.name = "<b>'\"$(job)\n\u202e" + "y" * 80
    lab.job.save()
    run.targets.filter(state="active").update(note="<script>note</script>", reason="<i>reason</i>")
    target = machine.run_targets.get()
    for path in (f"/runs/{run.pk}/", f"/runs/{run.pk}/targets/{target.pk}/", f"/runs/{run.pk}/cancel/", "/runs/"):
        said = page.get(path).content.decode()
        for raw in ("<b>$(", "<b>'", "<script>note", "<i>reason"):
            assert raw not in said, path


def test_ten_thousand_targets_cost_what_one_costs(page: Client, lab: LabSite):
    small, large = make_run(lab, 1), make_run(lab, 10_000)
    page.get(f"/runs/{small.pk}/")
    with CaptureQueriesContext(connection) as one:
        page.get(f"/runs/{small.pk}/")
    for path in ("", "?q=00", "?standing=open&sort=-name", "?page=150"):
        begun = time.perf_counter()
        with CaptureQueriesContext(connection) as many:
            assert page.get(f"/runs/{large.pk}/{path}").status_code == 200
        took = time.perf_counter() - begun
        assert len(many) == len(one), path
        print(f"\n10,000 targets {path}: {len(many)} queries, {took * 1000:.0f} ms")  # noqa: T201 - measured, not judged
    assert RunTarget.objects.count() == 10_001


def test_the_log_is_on_the_page_and_is_searched_there(page: Client, lab: LabSite):
    lab.machine("m1", name="alpha")
    lab.machine("m2", name="beta")
    run = lab.start()
    lab.run_to_end(run)
    said = page.get(f"/runs/{run.pk}/").content.decode()
    assert "data-live-log" in said
    assert 'data-open="false"' in said
    assert said.count('class="log-line') == sum(run.targets.values_list("events", flat=True))
    found = page.get(f"/runs/{run.pk}/log?machine=ALPHA", headers=HTMX).content.decode()
    assert "<html" not in found
    assert "data-live-log" not in found
    assert found.count('class="log-line') == run.targets.get(resource__name="alpha").events
    assert "beta" not in found
    assert f'href="/runs/{run.pk}/log.txt?machine=ALPHA"' in found
    again = page.get(f"/runs/{run.pk}/log?q=&machine=&level=", headers=HTMX).content.decode()
    assert "data-live-log" in again, "without a filter it is the live log again"


def test_a_targets_page_has_its_own_lines(page: Client, lab: LabSite):
    lab.machine("m1")
    lab.machine("m2")
    run = lab.start()
    lab.run_to_end(run)
    target = run.targets.first()
    assert target is not None
    said = page.get(f"/runs/{run.pk}/targets/{target.pk}/").content.decode()
    assert said.count('class="log-line') == target.events


@pytest.mark.parametrize("query", ["q=%00", "machine=%00", "q=" + "x" * 300, "level=loud", "target=x", "before=1"])
def test_a_log_that_cant_be_asked_for_says_so(page: Client, lab: LabSite, query: str):
    run = make_run(lab, 1)
    assert page.get(f"/runs/{run.pk}/log?{query}", headers=HTMX).status_code == 400
    answer = page.get(f"/runs/{run.pk}/log?{query}")
    assert answer.status_code == 400
    assert "errorlist" in answer.content.decode()
