"""The engine through whole cycles, on the memory lab and a clock that jumps."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.core import mail

from inventory.lab.world import GuestBehaviour, Round, Update, WorkerDied
from inventory.models import Host, LibraryServer, StoredResource
from ovmst_site.access.gate import SERVICE
from servicing import alarms, engine, ledger
from servicing.actions import QUEUE, cancel_run, count_awake, resolve_attention, retry_failed, start_run
from servicing.models import Event, Generation, PackageReport, RunTarget, StepRecord
from servicing.telling import closing_line
from tests.factories import LabSite

Outcome = RunTarget.Outcome
EFFECTS = ["mark", "fetch", "connect", "protect", "start", "shut_down", "store", "unmark"]
GUEST_CALLS = ["ping", "readiness", "scan", "install", "restart", "boot_id", "health", "tidy"]
TWO_ROUNDS = [Round((Update("linux", "2"),), restart=True), Round((Update("ssl", "2", security=True),))]


def log_of(target: RunTarget) -> str:
    return "\n".join(f"{e.n} {e.step}: {e.text}" for e in Event.objects.filter(target=target).order_by("n"))


def service(site: LabSite, external_id: str = "m1") -> RunTarget:
    """Start a run, take it to its end whatever dies on the way, and return the machine's target."""
    site.run_through_deaths(site.start())
    return site.serviced(external_id)


def assert_stored_and_quiet(site: LabSite) -> None:
    """Nothing lost, nothing awake, nothing left behind, every counter back at zero."""
    assert site.world.violations == []
    assert site.world.lost_machines() == []
    assert site.world.awake() == []
    assert site.world.residue() == []
    assert not Host.objects.exclude(slots_used=0, memory_used_mb=0).exists()
    assert not LibraryServer.objects.exclude(transfers_used=0).exists()


def assert_restored(site: LabSite, target: RunTarget) -> None:
    assert target.outcome == Outcome.RESTORED, log_of(target)
    assert site.world.published(target.resource.external_id) == site.world.original(target.resource.external_id)
    assert_stored_and_quiet(site)


def test_a_machine_is_woken_updated_and_stored(either_lab: LabSite):
    either_lab.machine("m1", rounds=TWO_ROUNDS)
    target = service(either_lab)
    assert target.outcome == Outcome.SUCCEEDED, log_of(target)
    assert_stored_and_quiet(either_lab)
    assert either_lab.world.published("m1") != either_lab.world.original("m1")
    resource = target.resource
    assert resource.compliance == "compliant"
    assert resource.compliant_at is not None
    generation = Generation.objects.get(resource=resource)
    assert generation.name == resource.generation
    before, after = PackageReport.objects.filter(target=target).order_by("moment").reverse()
    assert (before.moment, after.moment) == ("before", "after")
    assert [p["name"] for p in before.pending] == ["linux"]
    assert after.packages["ssl"] == "2"
    assert after.pending == []


def test_events_are_numbered_without_gaps_and_each_step_is_recorded_once(lab: LabSite):
    lab.machine("m1")
    target = service(lab)
    numbers = list(Event.objects.filter(target=target).order_by("n").values_list("n", flat=True))
    assert numbers == list(range(1, target.events + 1))
    visits = list(StepRecord.objects.filter(target=target).values_list("visit", flat=True))
    assert len(visits) == len(set(visits))


@pytest.mark.parametrize("call", [*EFFECTS, *GUEST_CALLS, "observe", "inspect"])
def test_what_fails_a_few_times_is_tried_again(either_lab: LabSite, call: str):
    either_lab.machine("m1", rounds=TWO_ROUNDS)
    either_lab.world.faults.fails(call, times=3)
    target = service(either_lab)
    assert target.outcome == Outcome.SUCCEEDED, log_of(target)
    assert_stored_and_quiet(either_lab)
    assert either_lab.world.faults.left() == []


@pytest.mark.parametrize("call", ["fetch", "protect", "start", "install", "scan", "health"])
def test_what_fails_for_good_leads_back_to_a_stored_machine(either_lab: LabSite, call: str):
    either_lab.machine("m1")
    either_lab.world.faults.gives_up(call)
    assert_restored(either_lab, service(either_lab))
    assert either_lab.world.faults.left() == []


def test_a_machine_that_cannot_be_stopped_needs_attention_and_stays_isolated(either_lab: LabSite):
    either_lab.machine("m1")
    either_lab.world.faults.gives_up("shut_down")
    target = service(either_lab)
    assert target.outcome == Outcome.ATTENTION, log_of(target)
    assert either_lab.world.violations == []
    assert either_lab.world.awake() == ["m1"]
    assert Host.objects.get().slots_used == 1


@pytest.mark.parametrize("call", ["fetch", "protect", "store"])
def test_an_operation_that_dies_half_way_leads_back_to_a_stored_machine(either_lab: LabSite, call: str):
    either_lab.machine("m1")
    either_lab.world.faults.dies_half_way(call)
    assert_restored(either_lab, service(either_lab))


@pytest.mark.parametrize("call", [*EFFECTS, "install", "restart"])
def test_a_call_that_succeeds_after_its_time_out_is_not_repeated(either_lab: LabSite, call: str):
    either_lab.machine("m1", rounds=TWO_ROUNDS)
    either_lab.world.faults.succeeds_late(call, after=1)
    target = service(either_lab)
    assert target.outcome == Outcome.SUCCEEDED, log_of(target)
    assert_stored_and_quiet(either_lab)


@pytest.mark.parametrize("call", [*EFFECTS, "install", "restart", "scan", "tidy"])
def test_a_crash_right_after_an_effect_does_not_cause_it_twice(either_lab: LabSite, call: str):
    either_lab.machine("m1", rounds=TWO_ROUNDS)
    without_crash = _effects_of_an_untroubled_run(call)
    either_lab.world.faults.crash_after(call)
    target = service(either_lab)
    assert target.outcome == Outcome.SUCCEEDED, log_of(target)
    assert either_lab.deaths == 1
    assert_stored_and_quiet(either_lab)
    assert either_lab.world.effects(call) == without_crash[either_lab.world.keeps_original]


@pytest.mark.parametrize("call", [*EFFECTS, "install", "restart", "scan", "observe", "inspect", "readiness"])
def test_a_crash_right_before_an_effect_costs_nothing(either_lab: LabSite, call: str):
    either_lab.machine("m1", rounds=TWO_ROUNDS)
    either_lab.world.faults.crash_before(call)
    target = service(either_lab)
    assert target.outcome == Outcome.SUCCEEDED, log_of(target)
    assert either_lab.deaths == 1
    assert_stored_and_quiet(either_lab)


@pytest.mark.parametrize("call", ["rewind", "connect", "store", "shut_down", "unmark"])
def test_a_crash_on_the_way_back_is_survived_too(either_lab: LabSite, call: str):
    either_lab.machine("m1", guest=GuestBehaviour(failing_installs=9))
    either_lab.world.faults.crash_after(call)
    assert_restored(either_lab, service(either_lab))


@pytest.mark.parametrize(
    "guest",
    [
        GuestBehaviour(never_answers=True),
        GuestBehaviour(failing_installs=9),
        GuestBehaviour(dies_in=frozenset({"boot"})),
        GuestBehaviour(dies_in=frozenset({"install"})),
        GuestBehaviour(dies_in=frozenset({"shut_down"})),
        GuestBehaviour(boot_loops_after_update=True),
        GuestBehaviour(ignores_shut_down=True),
        GuestBehaviour(source_reachable=False),
        GuestBehaviour(source_offers=False),
        GuestBehaviour(clock_skew=90_000),
    ],
    ids=lambda g: ", ".join(
        f"{n}" for n in g.__dataclass_fields__ if getattr(g, n) != getattr(GuestBehaviour(), n)
    ),
)
def test_a_guest_that_cannot_be_serviced_is_restored(either_lab: LabSite, guest: GuestBehaviour):
    either_lab.machine("m1", rounds=TWO_ROUNDS, guest=guest)
    target = service(either_lab)
    assert_restored(either_lab, target)
    assert target.reason


def test_a_machine_that_vanished_while_shutting_down_is_never_called_updated(lab: LabSite):
    lab.machine("m1", guest=GuestBehaviour(dies_in=frozenset({"shut_down"})))
    target = service(lab)
    assert_restored(lab, target)
    assert "nothing shows that it shut down clean" in target.reason
    assert target.resource.compliance == "missing"


def test_what_is_healthy_after_its_rounds_is_stored_as_partial_and_comes_first_next_time(either_lab: LabSite):
    either_lab.job.rounds = 2
    either_lab.job.save()
    either_lab.machine("m1", guest=GuestBehaviour(endless=True))
    target = service(either_lab)
    assert target.outcome == Outcome.PARTIAL, log_of(target)
    assert target.resource.first_in_line
    assert target.resource.compliance == "missing"
    assert target.resource.compliant_at is None
    assert_stored_and_quiet(either_lab)


def test_a_failing_check_of_the_job_restores(lab: LabSite):
    lab.job.checks = [["/bin/false"]]
    lab.job.save()
    lab.machine("m1")
    target = service(lab)
    assert_restored(lab, target)
    assert "/bin/false" in target.reason


def test_a_job_may_keep_what_proved_healthy(either_lab: LabSite):
    either_lab.job.checks = [["/bin/false"]]
    either_lab.job.on_failure = "keep"
    either_lab.job.save()
    either_lab.machine("m1")
    target = service(either_lab)
    assert target.outcome == Outcome.PARTIAL, log_of(target)
    assert either_lab.world.published("m1") != either_lab.world.original("m1")
    assert_stored_and_quiet(either_lab)


def test_a_machine_that_somebody_else_started_is_left_alone(either_lab: LabSite):
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_until(run, "protect")
    either_lab.world.outsiders.start("m1", "h1")
    either_lab.run_to_end(run)
    target = either_lab.serviced()
    assert target.outcome == Outcome.ATTENTION, log_of(target)
    assert either_lab.world.awake() == ["m1"]
    assert count_awake(run) == 1
    assert target.reserved_mb is not None
    assert Host.objects.get().slots_used == 1


def test_attention_sends_an_alarm_with_place_and_reason_and_repeats_it_daily(lab: LabSite):
    settings.ALARM_RECIPIENTS.append("duty@example.org")
    try:
        lab.machine("m1", name='a"; $(reboot)\nBcc: x@example.org \U0001f4a5')
        run = lab.start()
        lab.run_until(run, "protect")
        lab.world.outsiders.start("m1", "h1")
        lab.run_to_end(run)
        (message,) = mail.outbox
        assert "\n" not in message.subject
        assert message.to == ["duty@example.org"]
        assert "host-1" in message.body
        assert "resolve_attention" in message.body
        assert alarms.send_due(lab.clock.now()) == 0
        lab.clock.jump(timedelta(days=1))
        assert alarms.send_due(lab.clock.now()) == 1
    finally:
        settings.ALARM_RECIPIENTS.clear()


def test_an_alarm_that_could_not_be_sent_is_tried_again(lab: LabSite, monkeypatch: pytest.MonkeyPatch):
    def refuse(**_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(alarms, "send_mail", refuse)
    lab.machine("m1")
    run = lab.start()
    lab.run_until(run, "protect")
    lab.world.outsiders.start("m1", "h1")
    lab.run_to_end(run)
    monkeypatch.undo()
    assert alarms.send_due(lab.clock.now()) == 0
    lab.clock.jump(timedelta(minutes=5))
    assert alarms.send_due(lab.clock.now()) == 1
    assert len(mail.outbox) == 1


def test_a_cancel_after_a_death_in_mark_leaves_no_marker(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    lab.world.faults.crash_after("mark")
    with pytest.raises(WorkerDied):
        lab.run_to_end(run)
    cancel_run(run, SERVICE)
    lab.run_to_end(run)
    assert lab.serviced().outcome == Outcome.RESTORED
    assert_stored_and_quiet(lab)


def test_a_person_has_it_brought_back(either_lab: LabSite):
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_until(run, "protect")
    either_lab.world.outsiders.start("m1", "h1")
    either_lab.run_to_end(run)
    either_lab.world.outsiders.stop("m1")
    resolve_attention(either_lab.serviced(), SERVICE, "I stopped it", bring_back=True)
    either_lab.run_to_end(run)
    target = either_lab.serviced()
    # Where the library keeps the original, it is as before; the only copy is what the outsider left of it.
    kept = either_lab.world.keeps_original
    assert target.outcome == (Outcome.RESTORED if kept else Outcome.RESOLVED), log_of(target)
    assert target.resolution == "I stopped it"
    assert_stored_and_quiet(either_lab)


def test_a_library_that_changed_meanwhile_keeps_both_and_asks(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    lab.run_until(run, "verify")
    lab.world.outsiders.publish("m1")
    theirs = lab.world.published("m1")
    lab.run_to_end(run)
    target = lab.serviced()
    assert target.outcome == Outcome.ATTENTION, log_of(target)
    assert "both are kept" in target.reason
    assert lab.world.published("m1") == theirs


def test_a_host_without_its_servicing_network_starts_nothing(either_lab: LabSite):
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_until(run, "fetch")
    either_lab.world.outsiders.remove_network("h1", "servicing")
    either_lab.run_to_end(run)
    assert_restored(either_lab, either_lab.serviced())
    assert either_lab.world.effects("start") == 0


def test_isolation_lost_while_it_runs_takes_it_off(either_lab: LabSite):
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_until(run, "install")
    either_lab.world.outsiders.reconnect("m1", "production")
    either_lab.run_to_end(run)
    target = either_lab.serviced()
    assert target.outcome == Outcome.RESTORED, log_of(target)
    assert "taken off" in target.reason
    assert either_lab.world.awake() == []


def test_no_servicing_network_on_any_host_is_refused_before_anything_moves(lab: LabSite):
    Host.objects.update(servicing_network="")
    lab.machine("m1")
    target = service(lab)
    assert target.outcome == Outcome.SKIPPED
    assert "servicing network" in target.reason
    assert lab.world.calls("mark") == 0


def test_twins_are_for_a_person_to_decide(lab: LabSite):
    lab.machine("m1")
    lab.machine("m2")
    run = lab.start()
    StoredResource.objects.update(uuid="same")
    lab.run_to_end(run)
    target = lab.serviced()
    assert target.outcome == Outcome.SKIPPED
    assert target.reason.startswith("decision needed")
    assert lab.world.calls("mark") == 0


def test_another_installations_marker_is_respected(lab: LabSite):
    lab.machine("m1")
    lab.world.outsiders.mark("m1")
    target = service(lab)
    assert target.outcome == Outcome.SKIPPED
    assert "another installation" in target.reason
    assert lab.world.effects("fetch") == 0


def test_slots_are_never_exceeded_and_all_machines_get_their_turn(lab: LabSite):
    for n in range(7):
        lab.machine(f"m{n}", name=f"machine {n}")
    run = lab.start()
    lab.run_to_end(run)
    assert closing_line(run, count_awake(run)) == (
        f"run {run.pk}: 7 targets, 7 succeeded, 0 partial, 0 restored, 0 skipped, 0 need attention, 0 awake"
    )
    assert_stored_and_quiet(lab)  # the lab reports a host beyond its slots as a violation


def test_a_transfer_limit_holds(either_lab: LabSite):
    LibraryServer.objects.update(transfers_limit=1)
    for n in range(4):
        either_lab.machine(f"m{n}", name=f"machine {n}")
    run = either_lab.start()
    either_lab.run_to_end(run)
    assert {t.outcome for t in run.targets.all()} == {Outcome.SUCCEEDED}
    assert_stored_and_quiet(either_lab)


@pytest.mark.parametrize("step", ["preflight", "place", "mark", "fetch", "isolate", "protect", "start", "ready",
                                  "scan", "install", "verify", "shut_down", "reconnect"])  # fmt: skip
def test_cancel_brings_it_back_as_it_was(either_lab: LabSite, step: str):
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_until(run, step)
    assert cancel_run(run, SERVICE) == 1
    either_lab.run_to_end(run)
    target = either_lab.serviced()
    assert target.outcome in (Outcome.RESTORED, Outcome.SKIPPED), log_of(target)
    assert "cancelled" in target.reason
    assert either_lab.world.published("m1") == either_lab.world.original("m1")
    assert_stored_and_quiet(either_lab)


def test_cancel_after_publish_began_lets_it_finish(either_lab: LabSite):
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_until(run, "store", operation=True)
    cancel_run(run, SERVICE)
    either_lab.run_to_end(run)
    target = either_lab.serviced()
    assert target.outcome == Outcome.SUCCEEDED, log_of(target)


def test_retry_takes_what_did_not_succeed(lab: LabSite):
    lab.machine("good", name="good")
    lab.machine("bad", name="bad", guest=GuestBehaviour(failing_installs=1))
    run = lab.start()
    lab.run_to_end(run)
    again = retry_failed(run, SERVICE)
    assert [t.resource.external_id for t in again.targets.all()] == ["bad"]
    lab.run_to_end(again)
    assert lab.serviced("bad").outcome == Outcome.SUCCEEDED


def test_a_machine_that_another_run_holds_is_skipped_and_named(lab: LabSite):
    lab.machine("m1")
    first = lab.start()
    second = start_run(lab.job, SERVICE, name_each=True)
    (target,) = second.targets.all()
    assert target.outcome == Outcome.SKIPPED
    assert "another run" in target.reason
    lab.run_to_end(first)
    assert first.targets.get().outcome == Outcome.SUCCEEDED


def test_a_worker_that_lost_its_lease_records_nothing(lab: LabSite):
    lab.machine("m1")
    lab.start()
    now = lab.clock.now()
    (lease,) = ledger.claim("slow", QUEUE, now, timedelta(seconds=90))
    assert ledger.claim("other", QUEUE, now, timedelta(seconds=90)) == []
    lab.clock.jump(timedelta(seconds=91))
    (stolen,) = ledger.claim("other", QUEUE, lab.clock.now(), timedelta(seconds=90))
    assert stolen.epoch == lease.epoch + 1
    before = RunTarget.objects.values().get()
    engine.advance(lease)
    assert RunTarget.objects.values().get() == before
    assert Event.objects.count() == 0
    assert lab.world.effects("mark") == 0


def test_an_unknown_step_is_never_a_guess(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    RunTarget.objects.update(step="defragment")
    lab.run_to_end(run)
    assert lab.serviced().outcome == Outcome.ATTENTION
    assert "defragment" in lab.serviced().reason


def test_unknown_is_waited_for_not_taken_for_gone(either_lab: LabSite):
    either_lab.machine("m1")
    run = either_lab.start()
    either_lab.run_until(run, "install")
    either_lab.world.faults.silent("m1", 120)
    either_lab.run_to_end(run)
    target = either_lab.serviced()
    assert target.outcome == Outcome.SUCCEEDED, log_of(target)


def test_a_machine_that_is_gone_needs_attention(lab: LabSite):
    lab.machine("m1")
    run = lab.start()
    lab.run_until(run, "scan")
    lab.world.outsiders.delete("m1")
    lab.run_to_end(run)
    assert lab.serviced().outcome == Outcome.ATTENTION


def test_the_worker_died_really(lab: LabSite):
    """The lab's death is a death: it passes through every except in the engine, and the lease stays."""
    lab.machine("m1")
    run = lab.start()
    lab.world.faults.crash_after("mark")
    with pytest.raises(WorkerDied):
        lab.run_to_end(run)
    assert RunTarget.objects.get().lease_owner


def _effects_of_an_untroubled_run(call: str) -> dict[bool, int]:
    # Two rounds, one restart: connect to isolate and to put back.
    often = {"scan": 3, "install": 2, "restart": 1, "connect": 2}
    return {True: often.get(call, 1), False: often.get(call, 1)}


def test_our_own_marker_that_a_finished_target_left_is_taken_off(lab: LabSite):
    from servicing.models import Installation

    lab.machine("m1")
    first = service(lab)
    lab.world.outsiders.mark("m1", Installation.current_name(), str(first.pk))
    again = service(lab)
    assert again.outcome == Outcome.SUCCEEDED, log_of(again)
    assert_stored_and_quiet(lab)
