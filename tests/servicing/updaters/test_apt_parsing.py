"""Reading what apt and dpkg print: their words, hostile words, and words that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovmst_site.faults import GiveUp, TryLater
from servicing.updaters.apt import parsing, refresh, verdict
from servicing.updaters.apt.parsing import Unreadable
from servicing.updaters.base import Held

# As apt 2.6.2 prints it on Debian 12; what is Ubuntu's is put together after it, not recorded.
SOURCES = b"""\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://security.ubuntu.com/ubuntu jammy-security/main amd64 Packages
     release v=22.04,o=Ubuntu,a=jammy-security,n=jammy,l=Ubuntu,c=main,b=amd64
     origin security.ubuntu.com
 500 http://mirror.example.org/debian-security bookworm-security/main amd64 Packages
     release v=12,o=Debian,a=oldstable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64
     origin mirror.example.org
 500 http://mirror.example.org/debian bookworm/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
     origin mirror.example.org
 500 file:/srv/our packages ./ Packages
     release c=
Pinned packages:
     toy -> 1.0 with priority 1000
"""
POLICY = b"""\
libc6:
  Installed: 2.36-9+deb12u3
  Candidate: 2.36-9+deb12u14
  Version table:
     2.36-9+deb12u14 500
        500 http://mirror.example.org/debian bookworm/main amd64 Packages
     2.36-9+deb12u7 500
        500 http://mirror.example.org/debian-security bookworm-security/main amd64 Packages
 *** 2.36-9+deb12u3 100
        100 /var/lib/dpkg/status
libc6:i386:
  Installed: 2.36-9+deb12u14
  Candidate: 2.36-9+deb12u14
  Version table:
 *** 2.36-9+deb12u14 500
        500 http://mirror.example.org/debian bookworm/main i386 Packages
        100 /var/lib/dpkg/status
own-tool:
  Installed: 1.0
  Candidate: 1.0
  Version table:
 *** 1.0 100
        100 /var/lib/dpkg/status
python3-update-manager:
  Installed: 1:22.04.9
  Candidate: 1:22.04.10
  Version table:
     1:22.04.10 500 (phased 40%)
        500 http://security.ubuntu.com/ubuntu jammy-security/main amd64 Packages
 *** 1:22.04.9 100
        100 /var/lib/dpkg/status
left:
  Installed: (none)
  Candidate: 2
  Version table:
     2 500
        500 file:/srv/our packages ./ Packages
     1 100
        100 /var/lib/dpkg/status
"""
PLAN = b"""\
Reading package lists...
Building dependency tree...
Calculating upgrade...
The following upgrades have been deferred due to phasing:
  python3-update-manager update-manager
  update-manager-core
The following packages have been kept back:
  linux-generic
2 upgraded, 1 newly installed, 0 to remove and 4 not upgraded.
Inst libc6 [2.36-9+deb12u3] (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) [libc6-dev:amd64 on libc6:amd64] []
Inst libc6:i386 [2.36-9+deb12u3] (2.36-9+deb12u14 Debian:12.15/oldstable [i386])
Inst linux-image-6.1.0-30-amd64 (6.1.124-1 Debian-Security:12/oldstable-security [amd64])
Conf libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64])
"""


def test_sources_are_read_with_their_words():
    sources = parsing.read_sources(SOURCES)
    assert "/var/lib/dpkg/status" not in sources
    assert [s.security for s in sources.values()] == [True, True, False, False]
    assert str(sources["http://mirror.example.org/debian bookworm/main amd64 Packages"]) == "Debian oldstable"
    assert str(sources["file:/srv/our packages ./ Packages"]) == "file:/srv/our packages ./ Packages"


def test_policy_tells_what_is_newer_where_it_comes_from_and_what_is_in_no_source():
    known = parsing.read_policy(POLICY, parsing.read_sources(SOURCES))
    assert [v.version for v in known["libc6"].newer] == ["2.36-9+deb12u14", "2.36-9+deb12u7"]
    update = known["libc6"].update
    assert update is not None
    assert [str(s) for s in update.sources] == ["Debian oldstable"]
    assert known["libc6:i386"].update is None
    assert not known["own-tool"].offered
    phased = known["python3-update-manager"].update
    assert phased is not None
    assert phased.phased
    assert [v.version for v in known["left"].newer] == ["2", "1"]


def test_a_policy_that_does_not_list_what_is_installed_is_unreadable():
    with pytest.raises(Unreadable, match="installed version of libc6"):
        parsing.read_policy(POLICY.replace(b"***", b"   "), {})


def test_a_plan_is_read_with_architectures_and_new_packages():
    planned = parsing.read_plan(PLAN)
    assert [(p.name, p.installed, p.offered) for p in planned] == [
        ("libc6", "2.36-9+deb12u3", "2.36-9+deb12u14"),
        ("libc6:i386", "2.36-9+deb12u3", "2.36-9+deb12u14"),
        ("linux-image-6.1.0-30-amd64", "", "6.1.124-1"),
    ]
    assert planned[2].origin == "Debian-Security:12/oldstable-security [amd64]"
    assert parsing.read_deferred(PLAN) == {"python3-update-manager", "update-manager", "update-manager-core"}


@pytest.mark.parametrize(
    "label", ["Evil) (9 [amd64])", "] [1] (0 x", "a\tb", "(" * 300, "🖥️ \u202e", "Inst x [1] (2 y)"]
)
def test_a_label_cannot_change_a_name_or_a_version(label):
    (planned,) = parsing.read_plan(f"Inst toy [1] (2 {label}:1/x [amd64])\n".encode())
    assert (planned.name, planned.installed, planned.offered) == ("toy", "1", "2")


@pytest.mark.parametrize(
    "line", ["Inst", "Inst ", "Inst toy", "Inst toy 2", "Inst $(id) (2 x)", "Inst toy (-;rm x)"]
)
def test_a_plan_that_cannot_be_read_is_not_a_shorter_plan(line):
    if line == "Inst":
        assert parsing.read_plan(b"Inst\n") == ()
        return
    with pytest.raises(Unreadable):
        parsing.read_plan(f"{line}\n".encode())


@pytest.mark.parametrize(
    "line",
    [
        "ii \ttoy",
        "ii \ttoy\t1\textra",
        "\ttoy\t1",
        "ii \tt oy\t1",
        "ii \ttoy\t1 2",
        "xx \ttoy\t1",
        "ii \ttoy\t",
        "",
    ],
)
def test_a_package_list_that_cannot_be_read_is_not_a_shorter_list(line):
    with pytest.raises(Unreadable):
        parsing.read_packages(f"{line}\n".encode(), "amd64")


def test_packages_lose_the_guests_own_architecture_and_keep_others():
    read = parsing.read_packages(b"ii \tlibc6:amd64\t1\nhi \tlibc6:i386\t1\niF \ttoy\t1\niHR\tbad\t\n", "amd64")
    assert [p.name for p in read] == ["libc6", "libc6:i386", "toy", "bad"]
    assert [p.finished for p in read] == [True, True, False, False]
    assert [p.on_hold for p in read] == [False, True, False, False]


@given(st.binary(max_size=400))
def test_whatever_comes_is_read_or_refused(data):
    for read in (
        parsing.read_parts,
        parsing.read_plan,
        parsing.read_sources,
        parsing.read_answer,
        parsing.read_deferred,
        lambda d: parsing.read_packages(d, "amd64"),
        lambda d: parsing.read_policy(d, {}),
    ):
        try:
            read(data)
        except Unreadable:
            continue


@given(st.dictionaries(st.from_regex(r"[a-df-z]{1,8}", fullmatch=True), st.binary(max_size=200), max_size=6))
def test_parts_come_back_whole_whatever_is_in_them_and_cut_off_they_are_refused(parts):
    data = b"".join(b"%s %d\n%s\n" % (n.encode(), len(c), c) for n, c in parts.items()) + b"end 0\n"
    assert parsing.read_parts(data) == parts
    for cut in range(0, len(data), 7):
        with pytest.raises(Unreadable):
            parsing.read_parts(data[:cut])


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.1.0-9-amd64", "6.1.0-10-amd64"),
        ("5.15.0-97-generic", "5.15.0-100-generic"),
        ("6.1.0-40-cloud-amd64", "6.12.6+bpo-cloud-amd64"),
        ("6.9.12-amd64", "6.10.1-amd64"),
    ],
)
def test_kernels_are_ordered_by_their_numbers(older, newer):
    assert parsing.newest_kernel([newer, older]) == parsing.newest_kernel([older, newer]) == newer


def test_left_over_kernels_are_none():
    assert parsing.newest_kernel(["6.1.0-9-amd64.old", "6.1.0-9-amd64.dpkg-new"]) == ""


def failed(*lines: str) -> str:
    return "".join(f"{line}\n" for line in ("Reading package lists...", *lines))


@pytest.mark.parametrize(
    "line",
    [
        "E: Failed to fetch http://x/InRelease  Temporary failure resolving 'x'",
        "E: Failed to fetch http://x/InRelease  Could not connect to x:80 - connect (113: No route to host)",
        "E: Failed to fetch http://x/InRelease  Connection timed out [IP: 192.0.2.1 80]",
        "E: Failed to fetch http://x/Packages.xz  File has unexpected size (1 != 2). Mirror sync in progress?",
        "E: Failed to fetch http://x/Packages.xz  Hash Sum mismatch",
        "E: Failed to fetch http://x/InRelease  503  Service Unavailable [IP: 192.0.2.1 80]",
        "E: Release file for http://x/InRelease is not valid yet (invalid for another 1h).",
        "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 99 (apt-get)",
        "E: Something that nobody has seen yet",
    ],
)
def test_what_may_pass_is_tried_later(line):
    assert isinstance(refresh.fault_of(100, failed(line)), TryLater)


@pytest.mark.parametrize(
    "line",
    [
        "E: The repository 'http://x bookworm InRelease' is not signed.",
        "W: GPG error: http://x bookworm InRelease: The following signatures couldn't be verified: NO_PUBKEY 0E984",
        "E: GPG error: http://x InRelease: The following signatures were invalid: EXPKEYSIG 0E984 Debian",
        "E: GPG error: http://x InRelease: The following signatures were invalid: BADSIG 0E984 Debian",
        "E: Failed to fetch https://x/InRelease  Certificate verification failed: Could not handshake.",
        "E: Release file for http://x/InRelease is expired (invalid since 5d).",
        "E: Repository 'http://x stable InRelease' changed its 'Codename' value from 'bookworm' to 'trixie'",
        "E: The repository 'http://x buster Release' does not have a Release file.",
        "E: Failed to fetch http://x/Packages  404  Not Found [IP: 192.0.2.1 80]",
        "E: Failed to fetch store:/x  Write error - write (28: No space left on device)",
    ],
)
def test_what_waiting_will_not_cure_is_given_up(line):
    assert isinstance(refresh.fault_of(100, failed(line)), GiveUp)


@pytest.mark.parametrize(
    "line",
    [
        "W: Failed to fetch http://x/InRelease  Could not resolve 'x'",
        "W: Some index files failed to download. They have been ignored, or old ones used instead.",
        "W: An error occurred during the signature verification. ... the previous index files will be used.",
        "W: Skipping acquire of configured file 'mian/x' as repository 'http://x' doesn't have the component 'x'",
    ],
)
def test_an_older_apt_that_calls_a_failed_refresh_a_success_is_not_believed(line):
    assert refresh.fault_of(0, failed(line)) is not None


@pytest.mark.parametrize(
    "line",
    [
        "W: Target Packages (main/binary-amd64/Packages) is configured multiple times in /etc/apt/sources.list:1",
        "W: http://x/InRelease: Key is stored in legacy trusted.gpg keyring (/etc/apt/trusted.gpg)",
        "N: Repository 'http://x bookworm InRelease' changed its 'Version' value from '12.1' to '12.2'",
        "Err:3 http://x bookworm/main Translation-en",
    ],
)
def test_a_warning_beside_a_successful_refresh_is_no_failure(line):
    assert refresh.fault_of(0, failed(line)) is None


def test_a_reason_is_short_and_says_each_thing_once():
    fault = refresh.fault_of(100, failed(*["E: Failed to fetch http://x  Connection failed" + "x" * 500] * 50))
    assert len(str(fault)) < 400


META = (
    b"format\t1\nboot\tB\nstamp\tS\narchitecture\tamd64\nupdate\t0\nplan\t0\nsources\t0\npackages\t0\npolicy\t0\n"
    b"running\t6.1.0-9-amd64\nversion\t#1 SMP\n"
)


def parts(**changed: bytes) -> dict[str, bytes]:
    return {
        "meta": META, "log": b"", "plan": PLAN, "sources": SOURCES,
        "packages": b"ii \tlibc6:amd64\t2.36-9+deb12u3\nii \town-tool\t1.0\nii \tpython3-update-manager\t1:22\n",
        "policy": POLICY, **changed,
    }  # fmt: skip


def test_a_whole_scan_from_what_apt_prints():
    scan = verdict.scan(parts()).scan
    held = {p.name: (p.held, p.security) for p in scan.pending}
    assert held == {
        "libc6": (Held.NO, True),
        "libc6:i386": (Held.NO, False),
        "linux-image-6.1.0-30-amd64": (Held.NO, True),
        "python3-update-manager": (Held.PHASED, True),
    }
    assert scan.note == "1 of 3 packages are in no update source"


@pytest.mark.parametrize("step", ["update", "plan", "sources", "packages", "policy"])
@pytest.mark.parametrize("code", [b"100", b"", b"x"])
def test_a_step_that_did_not_end_well_is_never_a_list(step, code):
    meta = META.replace(f"{step}\t0\n".encode(), f"{step}\t".encode() + code + b"\n")
    with pytest.raises((GiveUp, TryLater)):
        verdict.scan(parts(meta=meta))


@pytest.mark.parametrize("name", ["meta", "log", "plan", "sources", "packages", "policy"])
def test_a_part_that_is_missing_is_never_an_empty_list(name):
    whole = parts()
    del whole[name]
    with pytest.raises(GiveUp, match="is missing"):
        verdict.scan(whole)


def test_a_package_that_apt_says_nothing_of_is_not_taken_for_up_to_date():
    with pytest.raises(GiveUp, match="says nothing of 1 installed packages, among them silent"):
        verdict.scan(parts(packages=b"ii \tlibc6:amd64\t2.36-9+deb12u3\nii \tsilent\t1\n"))


def test_a_result_of_another_format_is_refused():
    with pytest.raises(GiveUp, match="another version"):
        verdict.scan(parts(meta=META.replace(b"format\t1", b"format\t2")))
