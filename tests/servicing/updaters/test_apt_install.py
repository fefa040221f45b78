"""Installing, and what surrounds it, with real apt and dpkg on a root folder of their own."""

import os
import signal
import time
from pathlib import Path

import pytest

from ovmst_site.faults import GiveUp, NeedsAttention, TryLater
from servicing.updaters.apt.driver import SCRIPT_PATH, AptUpdater
from servicing.updaters.base import Installed, Package, Running, Verdict
from tests.servicing.updaters.private_apt import (
    LocalChannel,
    OnlyOwnPrograms,
    PrivateApt,
    installed,
    locked,
    scanned,
)

UPDATER = AptUpdater()
BLOCKS = "touch {root}/blocks; while [ ! -e {root}/go ]; do sleep 0.1; done"


def worker(apt: PrivateApt, op: str = "op-install") -> int:
    """The number of the operation's process, once it has come to what blocks."""
    for _ in range(200):
        if (apt.root / "blocks").exists():
            return int((apt.root / "var/lib/ovmst" / op / "pid").read_text().split()[0])
        time.sleep(0.05)
    raise AssertionError("no worker came so far")


@pytest.mark.parametrize("shell", ["/bin/sh", "bash", "busybox sh"])
def test_what_is_pending_is_installed_and_the_next_scan_is_compliant(apt, shell):
    if os.system(f"command -v {shell.split()[0]} >/dev/null"):  # noqa: S605
        pytest.skip(f"no {shell} here")
    apt.shell = shell
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2", Depends="helper"), apt.build("helper", "1"))
    scanned(apt.channel, "before")
    result = installed(apt.channel)
    assert (result.ok, result.note) == (True, "1 upgraded, 1 new")
    assert "Setting up toy (2)" in result.log
    after = scanned(apt.channel, "after")
    assert after.verdict is Verdict.COMPLIANT
    assert after.packages == (Package("helper", "1"), Package("toy", "2"))
    assert UPDATER.health(apt.channel).ok


def test_an_installation_asked_for_again_is_not_done_twice(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2", postinst=f"echo once >> {apt.root}/count"))
    scanned(apt.channel)
    assert installed(apt.channel) == installed(apt.channel)
    assert (apt.root / "count").read_text() == "once\n"


def test_two_that_begin_at_once_begin_one(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2", postinst=f"echo once >> {apt.root}/count"))
    scanned(apt.channel)
    for _ in range(3):  # each of three workers saw it absent, then says begin
        UPDATER._begin(apt.channel, "op-install", "install")
    assert installed(apt.channel).ok
    assert (apt.root / "count").read_text() == "once\n"


def test_a_postinst_that_fails_is_named_with_dpkgs_words(apt):
    apt.install(apt.build("toy", "1"), apt.build("fine", "1"))
    apt.publish(apt.build("toy", "2", postinst="echo no such luck >&2; exit 3"), apt.build("fine", "2"))
    scanned(apt.channel, "before")
    result = installed(apt.channel)
    assert not result.ok
    assert "failed: toy" in result.note
    assert "exit status 3" in result.note
    assert "no such luck" in result.log
    health = UPDATER.health(apt.channel)
    assert not health.ok
    assert "unfinished: toy" in health.problems
    assert scanned(apt.channel, "after").verdict is Verdict.MISSING


def test_success_with_nothing_upgraded_is_no_success(apt):
    apt.outdated("toy")
    scanned(apt.channel)
    real = (apt.root / "bin/apt-get").read_text()
    apt.program("apt-get", f'case "$*" in *" -y "*) exit 0 ;; esac\n{real}')
    result = installed(apt.channel)
    assert not result.ok
    assert "reported success" in result.note
    assert "toy" in result.note


def test_what_was_left_unfinished_is_finished_first(apt):
    apt.install(apt.build("other", "1"))
    unfinished = apt.build("toy", "1", postinst=f"touch {apt.root}/configured")
    apt.publish(unfinished, apt.build("other", "2"))
    apt.unpack(unfinished)
    scanned(apt.channel)
    assert installed(apt.channel).ok
    assert (apt.root / "configured").exists()
    assert apt.installed("other") == "2 ii"


def test_a_configuration_file_that_was_changed_by_hand_stays_and_nobody_is_asked(apt):
    apt.install(apt.build("toy", "1", conffile="one\n"))
    (apt.root / "etc/toy.conf").write_text("ours\n")
    apt.publish(apt.build("toy", "2", conffile="two\n"))
    scanned(apt.channel)
    assert installed(apt.channel).ok
    assert (apt.root / "etc/toy.conf").read_text() == "ours\n"


def test_it_goes_on_without_the_channel_and_is_found_again(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2", postinst=BLOCKS.format(root=apt.root)))
    channel = apt.channel
    scanned(channel)
    assert isinstance(UPDATER.install(channel, "op-install"), Running)
    channel.broken = True
    with pytest.raises(TryLater):
        UPDATER.install(channel, "op-install")
    assert isinstance(AptUpdater().install(apt.channel, "op-install"), Running)
    assert UPDATER.is_installing(apt.channel)
    with pytest.raises(TryLater, match="an installer runs"):
        UPDATER.restart(apt.channel)
    with pytest.raises(TryLater, match="still runs"):
        UPDATER.tidy(apt.channel)
    (apt.root / "go").touch()
    assert installed(apt.channel).ok
    assert not UPDATER.is_installing(apt.channel)


def test_a_termination_signal_waits_for_the_installer(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2", postinst=BLOCKS.format(root=apt.root)))
    scanned(apt.channel)
    UPDATER.install(apt.channel, "op-install")
    os.kill(worker(apt), signal.SIGTERM)
    time.sleep(0.5)
    assert isinstance(UPDATER.install(apt.channel, "op-install"), Running)
    (apt.root / "go").touch()
    assert installed(apt.channel).ok


def test_an_installer_that_outlives_its_shell_is_waited_for_and_is_no_success(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2", postinst=BLOCKS.format(root=apt.root)))
    scanned(apt.channel)
    UPDATER.install(apt.channel, "op-install")
    os.kill(worker(apt), signal.SIGKILL)
    forget_the_beginning(apt)
    assert isinstance(UPDATER.install(apt.channel, "op-install"), Running)
    (apt.root / "go").touch()
    result = installed(apt.channel)
    assert not result.ok
    assert "its process is gone" in result.note


def test_a_guest_that_restarted_meanwhile_is_no_success(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2", postinst=BLOCKS.format(root=apt.root)))
    scanned(apt.channel)
    UPDATER.install(apt.channel, "op-install")
    os.kill(worker(apt), signal.SIGKILL)
    (apt.root / "go").touch()
    wait_until_unlocked(apt)
    for name in ("begun", "pid"):
        path = apt.root / "var/lib/ovmst/op-install" / name
        words = path.read_text().split()
        words[0 if name == "begun" else 2] = "00000000-0000-0000-0000-000000000000"
        path.write_text(" ".join(words) + "\n")
    result = UPDATER.install(apt.channel, "op-install")
    assert isinstance(result, Installed)
    assert not result.ok
    assert "restarted meanwhile" in result.note


@pytest.mark.parametrize(
    "damage", [b"", b"log 9", b"plan 5\n12345\nend 0\n", b"end 0\n", b"meta 0\n\nend 0\n", None]
)
def test_a_result_that_is_damaged_is_no_success(apt, damage):
    apt.outdated("toy")
    scanned(apt.channel)
    assert installed(apt.channel).ok
    path = apt.root / "var/lib/ovmst/op-install/result"
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    result = UPDATER.install(apt.channel, "op-install")
    assert isinstance(result, Installed)
    assert not result.ok


def test_a_scan_whose_process_died_is_begun_anew(apt):
    apt.outdated("toy")
    apt.program("uname", f"{BLOCKS.format(root=apt.root)}; echo 6.1.0")
    UPDATER.scan(apt.channel, "op-scan")
    os.kill(worker(apt, "op-scan"), signal.SIGKILL)
    forget_the_beginning(apt, "op-scan")
    (apt.root / "go").touch()
    with pytest.raises(TryLater, match="begun anew"):
        UPDATER.scan(apt.channel, "op-scan")
    assert scanned(apt.channel).pending


def test_a_scan_from_before_a_restart_is_made_again(apt):
    apt.outdated("toy")
    scanned(apt.channel)
    path = apt.root / "var/lib/ovmst/op-scan/result"
    boot = UPDATER.boot_id(apt.channel).encode()
    path.write_bytes(path.read_bytes().replace(boot, b"0" * len(boot)))
    assert isinstance(UPDATER.scan(apt.channel, "op-scan"), Running)
    assert scanned(apt.channel).pending


@pytest.mark.parametrize("op", ["", "a/../b", "-x", "A", "a" * 61, "a b", "a\n", "$(id)"])
def test_a_name_that_could_be_anything_else_never_reaches_the_guest(apt, op):
    channel = apt.channel
    with pytest.raises(NeedsAttention, match="can't name an operation"):
        UPDATER.install(channel, op)
    assert channel.runs == []


def test_an_operation_is_not_taken_for_one_of_the_other_kind(apt):
    apt.outdated("toy")
    scanned(apt.channel, "one")
    with pytest.raises(NeedsAttention, match="is a scan in the guest, not a install"):
        UPDATER.install(apt.channel, "one")


def test_another_installer_makes_readiness_wait_and_is_not_stopped(apt):
    apt.outdated("toy")
    with locked(apt):
        assert UPDATER.is_installing(apt.channel)
        with pytest.raises(TryLater, match="own updater is installing"):
            UPDATER.readiness(apt.channel, now=time.time())
    assert not UPDATER.is_installing(apt.channel)
    answer = UPDATER.readiness(apt.channel, now=time.time())
    assert answer.source is True
    assert answer.clock_skew is not None
    assert abs(answer.clock_skew) < 2


def test_the_clock_is_told_against_ours(apt):
    apt.outdated("toy")
    skew = UPDATER.readiness(apt.channel, now=time.time() - 1000).clock_skew
    assert skew is not None
    assert 998 < skew < 1002


def test_a_guest_without_apt_is_given_up(apt):
    os.rename(apt.root / "bin", apt.root / "few")
    (apt.root / "bin").mkdir()
    for name in ("id", "dpkg", "dpkg-query"):
        os.rename(apt.root / "few" / name, apt.root / "bin" / name)
    channel = OnlyOwnPrograms(apt.root)
    with pytest.raises(GiveUp, match="the guest has no apt-get"):
        UPDATER.readiness(channel, now=0)


def test_a_user_who_is_not_root_is_given_up(apt):
    apt.program("id", "echo 1000")
    with pytest.raises(GiveUp, match="needs root"):
        UPDATER.readiness(apt.channel, now=0)


def test_tidying_leaves_nothing_and_the_guests_own_updater_as_it_was(apt):
    apt.outdated("toy")
    (apt.root / "var/cache/apt/archives/theirs.deb").write_bytes(b"kept by an administrator")
    UPDATER.readiness(apt.channel, now=0)
    assert (apt.root / "etc/apt/apt.conf.d/99ovmst-quiet").exists()
    before = snapshot(apt.root) - {"etc/apt/apt.conf.d/99ovmst-quiet"}
    scanned(apt.channel)
    installed(apt.channel)
    UPDATER.tidy(apt.channel)
    UPDATER.tidy(apt.channel)
    left = {p for p in snapshot(apt.root) - before if not p.startswith(("var/lib/dpkg", "var/lib/apt", "var/log"))}
    assert {p for p in left if "ovmst" in p} == set()
    assert (apt.root / "var/cache/apt/archives/theirs.deb").exists()


def test_what_was_downloaded_does_not_stay(apt):
    apt.outdated("toy")
    apt.source(f"deb [trusted=yes] copy:{apt.root}/repo ./")
    scanned(apt.channel)
    assert installed(apt.channel).ok
    assert list(apt.root.glob("var/cache/apt/**/*.deb")) == []


@pytest.mark.parametrize(
    ("running", "version", "images", "reason"),
    [
        ("6.1.0-9-cloud-amd64", "#1 SMP", ["6.1.0-10-cloud-amd64", "6.1.0-9-cloud-amd64"], "6.1.0-10-cloud-amd64"),
        ("6.1.0-9-amd64", "#1 SMP Debian 6.1.27-1 (2023)", ["6.1.0-9-amd64"], ""),
        ("6.12.6-custom", "#1 SMP", [], ""),
    ],
)
def test_a_newer_kernel_that_is_installed_asks_for_a_restart(apt, running, version, images, reason):
    apt.outdated("toy")
    apt.kernel(running, version)
    for image in [*images, *(["6.1.0-99-amd64.old"] if images else [])]:
        (apt.root / "boot" / f"vmlinuz-{image}").touch()
    assert scanned(apt.channel).restart_needed == bool(reason)
    health = UPDATER.health(apt.channel)
    assert health.ok != bool(reason)
    assert reason in " ".join(health.problems)


def test_a_kernel_that_was_rebuilt_under_its_old_name_asks_for_a_restart(apt):
    apt.install(apt.build("linux-image-6.1.0-9-amd64", "6.1.27-2"))
    apt.kernel("6.1.0-9-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.27-1 (2023-05-08)")
    problems = UPDATER.health(apt.channel).problems
    assert problems == ("kernel 6.1.0-9-amd64 is installed as 6.1.27-2, 6.1.27-1 runs",)


def test_the_guests_own_wish_for_a_restart_is_told(apt):
    apt.outdated("toy")
    (apt.root / "run/reboot-required").touch()
    assert scanned(apt.channel).restart_needed


def test_an_answer_that_is_none_is_not_taken_for_one(apt):
    class Mute(LocalChannel):
        def put(self, path: str, content: bytes, *, mode: int = 0o600, deadline: float = 60) -> None:
            super().put(path, content, mode=mode, deadline=deadline)
            self.at(path).write_bytes(b"exit 0\n")

    mute = Mute(apt.root)
    for ask in (UPDATER.is_installing, UPDATER.health, UPDATER.tidy, UPDATER.restart):
        with pytest.raises(TryLater, match="no answer from the script"):
            ask(mute)


def test_the_script_is_put_once_and_again_when_it_is_gone(apt):
    channel = apt.channel
    UPDATER.is_installing(channel)
    runs = len(channel.runs)
    UPDATER.is_installing(channel)
    assert len(channel.runs) == runs + 1
    channel.at(SCRIPT_PATH).unlink()
    assert UPDATER.is_installing(channel) is False


def forget_the_beginning(apt: PrivateApt, op: str = "op-install") -> None:
    """Make it look as if it was begun long ago in this boot."""
    path = apt.root / "var/lib/ovmst" / op / "begun"
    boot, _, kind = path.read_text().split()
    path.write_text(f"{boot} -1000 {kind}\n")


def wait_until_unlocked(apt: PrivateApt) -> None:
    for _ in range(200):
        if not UPDATER._ask(apt.channel, "installers").get("holder"):
            return
        time.sleep(0.05)
    raise AssertionError("dpkg's lock stays taken")


def snapshot(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*")}
