"""What AptUpdater says is pending: asked of real apt and dpkg on a root folder of their own."""

import functools
import http.server
import threading
from collections.abc import Iterator

import pytest

from ovmst_site.faults import GiveUp, TryLater
from servicing.updaters.apt.driver import AptUpdater
from servicing.updaters.base import Held, Package, Pending, Running, Verdict
from tests.servicing.updaters.private_apt import PrivateApt, installed, scanned


def only(pending: tuple[Pending, ...]) -> Pending:
    assert len(pending) == 1, pending
    return pending[0]


def test_an_update_is_listed_with_its_versions_and_its_origin(apt):
    apt.install(apt.build("toy", "1.0-1"))
    apt.publish(apt.build("toy", "1.0-2"), release="Origin: Acme\nLabel: Acme tools\nSuite: stable\n")
    scan = scanned(apt.channel)
    assert only(scan.pending) == Pending("toy", "1.0-1", "1.0-2", "Acme tools stable", security=False)
    assert scan.packages == (Package("toy", "1.0-1"),)
    assert scan.verdict is Verdict.MISSING
    assert not scan.restart_needed


def test_nothing_pending_from_a_source_that_has_what_is_installed_is_compliant(apt):
    deb = apt.build("toy", "1")
    apt.install(deb)
    apt.publish(deb)
    scan = scanned(apt.channel)
    assert (scan.pending, scan.source_offers, scan.verdict) == ((), True, Verdict.COMPLIANT)


@pytest.mark.parametrize(
    "release",
    [
        "Label: Debian-Security\nSuite: oldoldstable\n",
        "Label: Ubuntu\nSuite: jammy-security\n",
        "Label: Debian\nSuite: stable\nCodename: bookworm-security\n",
    ],
)
def test_a_security_update_is_known_by_its_source(apt, release):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2"), release=release)
    assert only(scanned(apt.channel).pending).security


def test_a_security_update_that_a_later_ordinary_one_covers_is_still_one(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2"), release="Label: Debian-Security\n")
    apt.publish(apt.build("toy", "3"), repo="plain", release="Label: Debian\n")
    apt.source(f"deb [trusted=yes] file:{apt.root}/repo ./", f"deb [trusted=yes] file:{apt.root}/plain ./")
    update = only(scanned(apt.channel).pending)
    assert (update.offered, update.origin, update.security) == ("3", "Debian", True)


def test_a_security_update_of_long_ago_does_not_make_todays_one_security(apt):
    apt.install(apt.build("toy", "2"))
    apt.publish(apt.build("toy", "1"), release="Label: Debian-Security\n")
    apt.publish(apt.build("toy", "3"), repo="plain", release="Label: Debian\n")
    apt.source(f"deb [trusted=yes] file:{apt.root}/repo ./", f"deb [trusted=yes] file:{apt.root}/plain ./")
    assert not only(scanned(apt.channel).pending).security


def test_a_new_package_that_an_update_needs_is_listed_too(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(
        apt.build("toy", "2", Depends="helper"), apt.build("helper", "1"), release="Label: Debian-Security\n"
    )
    helper, toy = scanned(apt.channel).pending
    assert (helper.name, helper.installed, helper.offered, helper.held, helper.security) == (
        "helper", "", "1", Held.NO, True,
    )  # fmt: skip
    assert (toy.name, toy.held) == ("toy", Held.NO)


def test_a_package_on_hold_is_an_exception(apt):
    apt.outdated("toy")
    apt.hold("toy")
    scan = scanned(apt.channel)
    assert only(scan.pending).held is Held.HOLD
    assert scan.installable == ()
    assert scan.verdict is Verdict.COMPLIANT


def test_a_security_update_on_hold_is_missing(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2"), release="Label: Debian-Security\n")
    apt.hold("toy")
    assert scanned(apt.channel).verdict is Verdict.MISSING


def test_a_security_update_that_a_pin_hides_is_missing(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2"), release="Label: Debian-Security\n")
    (apt.root / "etc/apt/preferences.d/no").write_text("Package: toy\nPin: version 2\nPin-Priority: -1\n")
    scan = scanned(apt.channel)
    update = only(scan.pending)
    assert (update.offered, update.security, update.held) == ("2", True, Held.HOLD)
    assert scan.verdict is Verdict.MISSING


def test_a_phased_update_is_an_exception(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2"), index_fields="Phased-Update-Percentage: 0\n")
    scan = scanned(apt.channel)
    assert only(scan.pending).held is Held.PHASED
    assert scan.verdict is Verdict.COMPLIANT


def test_an_update_that_would_remove_something_is_kept_back_and_missing(apt):
    apt.install(apt.build("toy", "1"), apt.build("other", "1"))
    apt.publish(apt.build("toy", "2", Conflicts="other"), apt.build("other", "1"))
    scan = scanned(apt.channel)
    assert only(scan.pending).held is Held.KEPT_BACK
    assert scan.verdict is Verdict.MISSING


def test_an_update_that_recommends_what_nobody_offers_is_not_kept_back(apt):
    apt.install(apt.build("kernel", "1"))
    apt.publish(apt.build("kernel", "2", Depends="image-2"), apt.build("image-2", "1", Recommends="nowhere"))
    assert [(p.name, p.held) for p in scanned(apt.channel).pending] == [("image-2", Held.NO), ("kernel", Held.NO)]
    assert installed(apt.channel).ok
    assert apt.installed("kernel") == "2 ii"


def test_one_update_that_is_kept_back_keeps_no_other_and_nothing_is_removed(apt):
    apt.install(apt.build("toy", "1"), apt.build("other", "1"), apt.build("fine", "1"))
    apt.publish(apt.build("toy", "2", Conflicts="other"), apt.build("other", "1"), apt.build("fine", "2"))
    assert [(p.name, p.held) for p in scanned(apt.channel).pending] == [("fine", Held.NO), ("toy", Held.KEPT_BACK)]
    assert installed(apt.channel).note == "1 upgraded, 0 new"
    assert (apt.installed("toy"), apt.installed("other"), apt.installed("fine")) == ("1 ii", "1 ii", "2 ii")


def test_what_an_earlier_installation_left_unfinished_is_missing(apt):
    deb = apt.build("toy", "1")
    apt.publish(deb)
    apt.unpack(deb)
    scan = scanned(apt.channel)
    assert only(scan.pending) == Pending("toy", "", "1", "left unfinished by dpkg")
    assert scan.installable


def test_a_package_that_was_removed_and_left_its_configuration_is_not_listed(apt):
    deb = apt.build("toy", "1")
    apt.install(deb, apt.build("gone", "1", postinst=":", conffile="x"))
    apt.publish(deb, apt.build("gone", "2"))
    apt.dpkg("-r", "gone")
    assert apt.installed("gone").endswith("rc")
    scan = scanned(apt.channel)
    assert scan.packages == (Package("toy", "1"),)
    assert scan.pending == ()


def test_a_source_that_was_emptied_offers_nothing(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish()
    assert scanned(apt.channel).verdict is Verdict.NOTHING_OFFERED


def test_a_guest_without_any_source_is_offered_nothing(apt):
    apt.install(apt.build("toy", "1"))
    apt.source()
    assert scanned(apt.channel).verdict is Verdict.NOTHING_OFFERED


def test_packages_that_no_source_has_are_told(apt):
    apt.outdated("toy")
    apt.install(apt.build("own", "1"))
    assert "1 of 2 packages are in no update source" in scanned(apt.channel).note


def test_a_source_that_is_gone_is_given_up_and_no_empty_list(apt):
    apt.outdated("toy")
    apt.source("deb [trusted=yes] file:/no/such/folder ./")
    with pytest.raises(GiveUp, match="isn't there any more"):
        scanned(apt.channel)


def test_one_source_of_two_that_fails_is_a_failed_refresh(apt):
    apt.outdated("toy")
    apt.source(f"deb [trusted=yes] file:{apt.root}/repo ./", "deb [trusted=yes] http://127.0.0.1:9/ ./")
    with pytest.raises(TryLater, match="Connection refused"):
        scanned(apt.channel)


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("Valid-Until: Sat, 01 Jan 2022 00:00:00 UTC\n", "is expired"),
        ("Codename: trixie\n", "Codename"),
    ],
)
def test_a_source_that_went_wrong_for_good_is_given_up_though_older_lists_are_there(apt, release, words):
    apt.outdated("toy")
    apt.publish(apt.build("toy", "2"), release="Codename: bookworm\n")
    scanned(apt.channel, "before")
    apt.publish(apt.build("toy", "3"), release=release)
    with pytest.raises(GiveUp, match=words):
        scanned(apt.channel, "after")


def test_an_unsigned_source_is_given_up(apt):
    apt.outdated("toy")
    apt.source(f"deb file:{apt.root}/repo ./")
    with pytest.raises(GiveUp, match="not signed"):
        scanned(apt.channel)


def test_a_suite_that_became_oldstable_is_let_pass(apt):
    apt.install(apt.build("toy", "1"))
    apt.publish(apt.build("toy", "2"), release="Suite: stable\nCodename: bookworm\nVersion: 12.1\n")
    scanned(apt.channel, "before")
    apt.publish(apt.build("toy", "3"), release="Suite: oldstable\nCodename: bookworm\nVersion: 12.13\n")
    assert only(scanned(apt.channel, "after").pending).offered == "3"


def test_sources_that_cannot_be_read_are_given_up(apt):
    apt.outdated("toy")
    apt.source("deb [trusted=yes nonsense")
    with pytest.raises(GiveUp, match="Malformed"):
        scanned(apt.channel)


def test_broken_dependencies_are_given_up_with_apts_words(apt):
    apt.publish(apt.build("toy", "1"))
    apt.dpkg("-i", "--force-depends", str(apt.build("broken", "1", Depends="nowhere")))
    with pytest.raises(GiveUp, match="Unmet dependencies"):
        scanned(apt.channel)


@pytest.fixture
def web(apt: PrivateApt) -> Iterator[type["Web"]]:
    """The repository over HTTP, which answers as `Web.status` says."""
    Web.status = 200
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Web, directory=str(apt.root / "repo"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    apt.source(f"deb [trusted=yes] http://127.0.0.1:{server.server_port}/ ./")
    yield Web
    server.shutdown()
    server.server_close()


class Web(http.server.SimpleHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        if self.status == 200:
            super().do_GET()
        else:
            self.send_error(self.status)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("status", "fault"), [(503, TryLater), (403, GiveUp), (404, GiveUp)])
def test_a_server_that_refuses_is_a_failed_refresh_though_older_lists_are_there(apt, web, status, fault):
    apt.outdated("toy")
    assert scanned(apt.channel, "before").pending
    web.status = status
    with pytest.raises(fault, match=str(status)):
        scanned(apt.channel, "after")


def test_a_refresh_that_failed_is_made_again_under_the_same_name(apt, web):
    apt.outdated("toy")
    web.status = 503
    with pytest.raises(TryLater):
        scanned(apt.channel)
    web.status = 200
    assert scanned(apt.channel).pending


def test_readiness_tells_a_source_that_answers_from_one_that_does_not(apt, web):
    apt.outdated("toy")
    assert AptUpdater().readiness(apt.channel, now=0).source is True
    apt.source("deb [trusted=yes] http://127.0.0.1:9/ ./")
    answer = AptUpdater().readiness(apt.channel, now=0)
    assert answer.source is False
    assert "Connection refused" in answer.note


def test_a_scan_that_is_asked_for_again_answers_the_same_until_the_guest_changes(apt):
    apt.outdated("toy")
    first = scanned(apt.channel)
    assert AptUpdater().scan(apt.channel, "op-scan") == first
    apt.install(apt.build("toy", "2"))
    assert isinstance(AptUpdater().scan(apt.channel, "op-scan"), Running)
    assert scanned(apt.channel).verdict is Verdict.COMPLIANT
