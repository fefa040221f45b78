"""manage.py demo: everything set up by one command, and a run that survives whatever stops the process."""

import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.embedded.process import Process, ask, manage, status_of

Start = Callable[..., Process]
# Hours in the lab are seconds here; no lease runs out while the test lasts.
FAST = {"OVMST_LAB_TIME_SCALE": "400", "OVMST_LEASE_SECONDS": "3600"}
LONGEST = 240.0  # seconds
CLOSING = (
    r"^run 1: 60 targets, (\d+) succeeded, (\d+) partial, (\d+) restored, (\d+) skipped, "
    r"(\d+) need attention, 0 awake$"
)
UNDER_WAY = r": fetch: done"


def test_a_run_outlives_stops_and_kills_and_nothing_is_done_twice(start: Start, data: Path):
    first = start("demo", "--port", "0", **FAST)
    assert status_of(first.url()) == 302
    first.until(UNDER_WAY, times=3)
    assert first.stop(signal.SIGTERM) == 0
    assert ask(data, LEASED) == 0
    assert ask(data, OPEN) > 30  # it really was in the middle

    second = start("demo", "--port", "0", **FAST)
    second.until(UNDER_WAY, times=3)
    assert second.stop(signal.SIGINT) == 0
    assert ask(data, LEASED) == 0

    third = start("demo", "--port", "0", **FAST)
    third.until(UNDER_WAY, times=3)
    assert third.stop(signal.SIGKILL) == -signal.SIGKILL

    last = start("demo", "--once", "--port", "0", **FAST)
    last.until(CLOSING, longest=LONGEST)
    assert last.wait(20) == 0
    for process in (first, second, last):
        assert "Traceback" not in process.said

    assert ask(data, OPEN) == 0
    assert ask(data, WORLD + "[world.violations, world.lost_machines(), world.residue()]") == [[], [], []]
    effects = ask(data, WORLD + EFFECTS)
    assert len(effects) == 60
    # More than once is only what was brought back, or failed on its way, and was tried again.
    outcomes = {machine: outcome for machine, (outcome, _, _) in effects.items()}
    for machine, (outcome, fetched, stored) in effects.items():
        if outcome == "succeeded":
            assert (fetched, stored) == (1, 1), machine
    assert Counter(outcomes.values())["succeeded"] > 30
    assert ask(data, GAPS) == []


HANGS = """
import time
from django.core.management import call_command
from inventory.lab.world import World
from servicing import demo
call_command("migrate", verbosity=0)
demo.set_up()
def hang(*arguments, **named):
    print("hangs", flush=True)
    time.sleep(600)
World.perform = hang
call_command("serve", "--port", "0")
"""


def test_a_call_that_hangs_is_given_up_and_its_machine_is_the_next_starts(start: Start, data: Path):
    server = start("shell", "-v", "0", "-c", HANGS, **FAST)
    server.until("^hangs$", times=2)
    assert server.stop(longest=12) == 0
    assert "given up" in server.said
    # Somewhere else the call might go on: it isn't the process that ends which says that nobody has them.
    left = ask(data, LEASED)
    assert left >= 2
    again = start("demo", "--port", "0", **FAST)
    again.until(f"{left} machines go on")
    again.until(UNDER_WAY, times=left)
    assert again.stop() == 0


def test_once_and_once_more(data: Path):
    done = manage(data, "demo", "--once", "--port", "0", **FAST)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    found = re.search(CLOSING, lines[-1])
    assert found, lines[-1]
    assert sum(map(int, found.groups())) == 60
    password = next(line.split()[2] for line in lines if "with password" in line)
    assert ask(data, ADMINISTRATOR % password) == [True, True, True]
    assert len(set(ask(data, SYSTEMS))) == 3
    assert ask(data, "from servicing.models import Job\nJob.objects.count()") >= 2

    again = manage(data, "demo", "--once", "--port", "0", **FAST)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.splitlines()[-1] == lines[-1]
    assert "with password" not in again.stdout
    assert "manage.py changepassword admin" in again.stdout
    assert ask(data, "from servicing.models import Run\nRun.objects.count()") == 1


def test_it_keeps_away_from_a_real_installation(data: Path):
    assert manage(data, "migrate", "-v", "0").returncode == 0
    made = """
from inventory.models import ManagementServer
str(ManagementServer.objects.create(name="Production", kind="libvirt"))
"""
    assert ask(data, made) == "Production"
    done = manage(data, "demo", "--once", "--port", "0")
    assert done.returncode == 1
    assert "real installation" in done.stderr
    assert "Production" in done.stderr
    assert "OVMST_DATA" in done.stderr
    assert "Traceback" not in done.stderr
    assert ask(data, "from ovmst_site.access.models import Person\nPerson.objects.count()") == 0


TARGETS = "from servicing.models import Event, RunTarget\n"
LEASED = TARGETS + 'RunTarget.objects.exclude(lease_owner="").count()'
OPEN = TARGETS + 'RunTarget.objects.filter(state__in=["queued", "active"]).count()'
GAPS = (
    TARGETS + "numbers = lambda t: list(Event.objects.filter(target=t).order_by('n').values_list('n', flat=True))\n"
    "[t.pk for t in RunTarget.objects.all() if numbers(t) != list(range(1, t.events + 1))]"
)
WORLD = "from inventory.lab import worlds\nfrom servicing import demo\nworld = worlds.get(demo.ADDRESS)\n"
EFFECTS = (
    TARGETS + "named = lambda t: t.resource.external_id\n"
    "{named(t): (t.outcome, world.effects('fetch', named(t)), world.effects('store', named(t)))"
    " for t in RunTarget.objects.select_related('resource')}"
)
ADMINISTRATOR = """
from ovmst_site.access.models import Person
admin = Person.objects.get(username="admin")
[admin.check_password(%r), admin.is_superuser, admin.must_change_password]
"""
SYSTEMS = """
from inventory.models import StoredResource
list(StoredResource.objects.values_list("operating_system", flat=True))
"""
