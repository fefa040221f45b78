"""Claims, transfer tokens, the numbers of events, and a worker that is told to stop."""

import threading
from datetime import timedelta

import pytest
from django.db import connection

from inventory.models import LibraryServer
from ovmst_site.access.gate import SERVICE
from servicing import engine, ledger, tasks
from servicing.actions import QUEUE, cancel_run, resolve_attention
from servicing.models import Event, RunTarget
from servicing.updaters import lab as lab_updater
from tests.factories import LabSite

LEASE = timedelta(seconds=90)


def numbers_of(target: RunTarget) -> list[int]:
    return list(Event.objects.filter(target=target).order_by("n").values_list("n", flat=True))


def texts_of(target: RunTarget) -> list[str]:
    return list(Event.objects.filter(target=target).order_by("n").values_list("text", flat=True))


def test_a_claim_takes_no_more_than_its_limit_however_the_database_plans_it(lab: LabSite):
    for n in range(9):
        lab.machine(f"m{n}", name=f"machine {n}")
    lab.start()
    if connection.vendor == "postgresql":  # as other statistics would have it plan: the pick anew for each row
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("CREATE INDEX ON servicing_runtarget (due_at, id)")
            cursor.execute("ANALYZE servicing_runtarget")
            for way in ("seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin", "hashagg", "material", "memoize"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
    leases = ledger.claim("one", QUEUE, lab.clock.now(), LEASE, limit=2)
    assert len(leases) == 2
    assert RunTarget.objects.exclude(lease_owner="").count() == 2
    assert len(ledger.claim("other", QUEUE, lab.clock.now(), LEASE, limit=20)) == 7


def test_a_fetch_leaves_the_last_transfer_to_a_machine_that_waits_to_be_stored(either_lab: LabSite):
    LibraryServer.objects.update(transfers_limit=1)
    either_lab.machine("done", name="done")
    first = either_lab.start()
    either_lab.run_until(first, "store")
    RunTarget.objects.update(queue="held")  # finished, and its worker busy elsewhere
    either_lab.machine("next", name="next")
    second = either_lab.start()
    for _ in range(20):
        first.targets.update(due_at=either_lab.clock.now())
        engine.advance_due(QUEUE)
        either_lab.clock.jump(timedelta(seconds=30))
    assert either_lab.serviced("next").step == "fetch"
    assert "transfers" in either_lab.serviced("next").note
    assert either_lab.world.calls("fetch", "next") == 0
    first.targets.update(queue=QUEUE)
    either_lab.run_to_end(second)
    assert first.targets.get().outcome == "succeeded"
    assert second.targets.get(resource__external_id="next").outcome == "succeeded"


def test_a_store_that_no_worker_looks_at_holds_up_nobody(lab: LabSite):
    LibraryServer.objects.update(transfers_limit=1)
    lab.machine("done", name="done")
    first = lab.start()
    lab.run_until(first, "store")
    RunTarget.objects.update(queue="a site whose workers are off")
    lab.machine("next", name="next")
    lab.start()
    for _ in range(60):
        engine.advance_due(QUEUE)
        lab.clock.jump(timedelta(seconds=30))
    assert lab.serviced("next").outcome == "succeeded"
    assert first.targets.get().step == "store"


def test_a_store_whose_platform_does_not_say_holds_up_nobody(lab: LabSite):
    LibraryServer.objects.update(transfers_limit=1)
    lab.machine("done", name="done")
    first = lab.start()
    lab.run_until(first, "store")
    lab.world.faults.silent("done", 3600)
    lab.machine("next", name="next")
    lab.start()
    for _ in range(100):
        engine.advance_due(QUEUE)
        lab.clock.jump(timedelta(seconds=30))
    assert lab.serviced("next").outcome == "succeeded"
    done = first.targets.get()
    assert done.step == "store"
    assert done.note.startswith("the platform does not say")
    lab.run_to_end(first)
    assert first.targets.get().outcome == "succeeded"


def test_a_store_that_fails_in_return_is_told_at_once_and_tried_again(either_lab: LabSite):
    either_lab.job.checks = [["/bin/false"]]
    either_lab.job.on_failure = "keep"
    either_lab.job.save()
    either_lab.machine("m1")
    either_lab.world.faults.dies_half_way("store", times=2)
    run = either_lab.start()
    either_lab.run_to_end(run)
    target = either_lab.serviced()
    assert target.outcome == "partial", texts_of(target)
    warnings = Event.objects.filter(target=target, level="warning", text__startswith="it could not be stored")
    assert warnings.count() == 2
    assert target.operations.filter(step="store", direction="return").count() == 3
    assert warnings[0].at - target.operations.filter(step="store")[0].begun_at < timedelta(minutes=5)


def test_a_cancel_while_a_step_is_under_way_is_told_and_numbers_stay_whole(
    lab: LabSite, monkeypatch: pytest.MonkeyPatch
):
    real = lab_updater.LabUpdater.health

    def health(self: lab_updater.LabUpdater, guest: object) -> object:
        cancel_run(run, SERVICE)
        return real(self, guest)  # type: ignore[arg-type]

    monkeypatch.setattr(lab_updater.LabUpdater, "health", health)
    lab.machine("m1")
    run = lab.start()
    lab.run_to_end(run)
    target = lab.serviced()
    assert target.outcome == "restored"
    assert numbers_of(target) == list(range(1, target.events + 1))
    said = texts_of(target)
    assert said.count("OVMST asks for it to be cancelled") == 1
    assert any("cancelled by" in text for text in said)


@pytest.mark.parametrize("bring_back", [True, False])
def test_what_a_person_decided_is_in_the_log(lab: LabSite, bring_back: bool):
    lab.machine("m1")
    run = lab.start()
    RunTarget.objects.update(step="defragment")
    lab.run_to_end(run)
    target = lab.serviced()
    before = target.events
    resolve_attention(target, SERVICE, "looked\0at it", bring_back=bring_back)
    target.refresh_from_db()
    assert target.events == before + 1
    assert "looked" in texts_of(target)[before]
    lab.run_to_end(run)
    target.refresh_from_db()
    assert numbers_of(target) == list(range(1, target.events + 1))


def test_a_worker_that_is_told_to_stop_finishes_its_step_and_lets_go(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    lab.machine("m1")
    lab.machine("m2", name="another")
    lab.start()
    first = RunTarget.objects.order_by("pk")[0]

    def told() -> bool:
        return RunTarget.objects.exclude(pk=first.pk, step="preflight").filter(step="place").exists()

    assert engine.advance_due(QUEUE, stop=told) == 1
    first.refresh_from_db()
    assert (first.step, first.lease_owner, first.lease_until) == ("place", "", None)
    assert first.due_at is not None
    assert RunTarget.objects.exclude(pk=first.pk).get().step == "preflight"
    monkeypatch.setattr(engine, "STOPPING", threading.Event())
    engine.STOPPING.set()
    tasks.advance_due(QUEUE)
    assert RunTarget.objects.exclude(pk=first.pk).get().step == "preflight"
    engine.STOPPING.clear()
    tasks.advance_due(QUEUE)
    assert RunTarget.objects.exclude(pk=first.pk).get().step != "preflight"
