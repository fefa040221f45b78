"""What differs where systemd runs, and restarts, with stand-ins for its commands. Real ones: make vm-test."""

import time

import pytest

from ovmst_site.faults import GiveUp, TryLater
from servicing.updaters.apt.driver import AptUpdater
from servicing.updaters.base import Running
from tests.servicing.updaters.private_apt import (
    LocalChannel,
    OnlyOwnPrograms,
    PrivateApt,
    installed,
    locked,
    scanned,
)

UPDATER = AptUpdater()


def wait_for(apt: PrivateApt, what: str) -> str:
    for _ in range(100):
        if found := apt.asked(what):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"nobody asked for {what!r}")


def test_an_installation_is_a_unit_of_its_own_that_shutting_down_waits_for(apt):
    apt.with_systemd()
    apt.outdated("toy")
    scanned(apt.channel)
    assert installed(apt.channel).ok
    scan, install = apt.asked("systemd-run")
    assert "--unit=ovmst-op-scan" in scan
    assert "--property=TimeoutStopSec=10" in scan.split()
    assert {"--collect", "--unit=ovmst-op-install", "--property=KillMode=process"} <= set(install.split())
    assert "--property=TimeoutStopSec=1800" in install


def test_a_systemd_that_knows_no_collect_is_asked_without(apt):
    apt.with_systemd()
    real = (apt.root / "bin/systemd-run").read_text()
    apt.program("systemd-run", f'[ "$1" != --collect ] || exit 1\n{real}')
    apt.outdated("toy")
    assert scanned(apt.channel).pending


def test_a_unit_that_cannot_be_started_is_tried_later_and_then_begun(apt):
    apt.with_systemd()
    apt.outdated("toy")
    real = (apt.root / "bin/systemd-run").read_text()
    apt.program("systemd-run", "echo 'Failed to connect to bus' >&2; exit 1")
    with pytest.raises(TryLater, match="Failed to connect to bus"):
        UPDATER.scan(apt.channel, "op-scan")
    apt.program("systemd-run", real)
    assert isinstance(UPDATER.scan(apt.channel, "op-scan"), Running)
    assert scanned(apt.channel).pending


def test_the_guests_own_updater_is_stopped_for_this_boot_only(apt):
    apt.with_systemd()
    apt.outdated("toy")
    UPDATER.readiness(apt.channel, now=0)
    (mask,) = apt.asked("systemctl mask")
    assert {"--runtime", "apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"} <= set(
        mask.split()
    )
    assert apt.asked("stop apt-daily.timer")
    assert not (apt.root / "etc/apt/apt.conf.d/99ovmst-quiet").exists()


def test_nothing_that_may_be_installing_is_stopped(apt):
    apt.with_systemd()
    apt.outdated("toy")
    with locked(apt), pytest.raises(TryLater):
        UPDATER.readiness(apt.channel, now=0)
    for words in map(str.split, apt.asked("systemctl stop")):
        assert not {"apt-daily-upgrade.service", "unattended-upgrades.service", "packagekit.service"} & set(words)


def test_an_upgrade_by_the_guest_itself_is_waited_for_before_it_takes_its_lock(apt):
    apt.with_systemd()
    apt.outdated("toy")
    apt.program("systemctl", 'case "$*" in "is-active apt-daily-upgrade.service") echo activating ;; esac')
    with pytest.raises(TryLater, match="own updater is installing"):
        UPDATER.readiness(apt.channel, now=0)


def test_units_that_failed_meanwhile_are_told_and_judge_nothing(apt):
    apt.with_systemd()
    apt.outdated("toy")
    apt.program("systemctl", 'case "$*" in list-units*) cat "$(dirname "$0")/failed" ;; esac')
    (apt.root / "bin/failed").write_text("old.service loaded failed failed Always was\n")
    UPDATER.readiness(apt.channel, now=0)
    (apt.root / "bin/failed").write_text("old.service loaded failed\nnew.service loaded failed\n")
    health = UPDATER.health(apt.channel)
    assert health.ok
    assert health.problems == ("unit new.service has failed since it was started",)


def test_a_guest_with_systemd_restarts_by_it(apt):
    apt.with_systemd()
    UPDATER.restart(apt.channel)
    assert wait_for(apt, "reboot") == "systemctl reboot"


@pytest.mark.parametrize(("missing", "asked"), [([], "shutdown -r now"), (["shutdown"], "reboot ")])
def test_a_guest_without_systemd_restarts_by_what_it_has(apt, missing, asked):
    for name in missing:
        (apt.root / "bin" / name).unlink()
    UPDATER.restart(OnlyOwnPrograms(apt.root))
    assert wait_for(apt, asked.split()[0]) == asked


def test_a_guest_that_cannot_restart_is_given_up(apt):
    (apt.root / "bin/shutdown").unlink()
    (apt.root / "bin/reboot").unlink()
    with pytest.raises(GiveUp, match="no command to restart with"):
        UPDATER.restart(OnlyOwnPrograms(apt.root))


def test_a_channel_that_breaks_while_restarting_is_tried_later(apt):
    channel = LocalChannel(apt.root, broken=True)
    with pytest.raises(TryLater):
        UPDATER.restart(channel)
    assert apt.asked("shutdown") == []
