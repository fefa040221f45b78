"""Reads what apt and dpkg print inside a guest.

The guest is not trusted: whatever doesn't read as it should raises Unreadable, and nothing is guessed. Names
and versions hold no blanks (Debian policy, 5.6), so they are taken from where labels and descriptions, which
may hold anything, can't reach.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.+-]*(?::[a-z0-9-]+)?")
VERSION = re.compile(r"[0-9a-zA-Z.+:~-]+")
INSTALL = re.compile(r"Inst (\S+) (?:\[(\S+)\] )?\((\S+) (.*)")
TABLE_VERSION = re.compile(r" (\*\*\*|   ) (\S+) (-?\d+)(.*)")
TABLE_SOURCE = re.compile(r" +(-?\d+) (\S.*)")
PACKAGE_FILE = re.compile(r" *(-?\d+) (\S.*)")
DEFERRED = "The following upgrades have been deferred due to phasing:"
MOST_PARTS = 50


class Unreadable(Exception):
    """What came from the guest isn't what it should be; the message says where."""


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    status: str  # dpkg's abbreviation: "ii", "hi", "iF" ...
    name: str  # with its architecture only where that isn't the guest's own
    version: str

    @property
    def finished(self) -> bool:
        return self.status[1:].strip() == "i"

    @property
    def on_hold(self) -> bool:
        return self.status[0] == "h"


@dataclass(frozen=True, slots=True)
class Planned:
    """One line of what `apt-get upgrade` would do."""

    name: str
    installed: str  # "" for a new package
    offered: str
    origin: str  # apt's words: "Debian-Security:12/stable-security [amd64]"


@dataclass(frozen=True, slots=True)
class Source:
    """A package index and what its Release file says of itself."""

    where: str
    origin: str = ""
    label: str = ""
    suite: str = ""
    codename: str = ""

    @property
    def security(self) -> bool:
        return self.label == "Debian-Security" or any(
            name.endswith("-security") for name in (self.suite, self.codename)
        )

    def __str__(self) -> str:
        return f"{self.label or self.origin or self.where} {self.suite or self.codename}".strip()


@dataclass(frozen=True, slots=True)
class KnownVersion:
    version: str
    sources: tuple[Source, ...]  # without dpkg's own record of what is installed
    phased: bool  # offered to a share of machines so far


@dataclass(frozen=True, slots=True)
class Known:
    """What apt knows of one installed package."""

    installed: str
    candidate: str
    newer: tuple[KnownVersion, ...]  # than the installed one, newest first
    offered: bool  # some source has it, in whatever version

    @property
    def update(self) -> KnownVersion | None:
        """The version that apt would go to, if that is a newer one."""
        return next((v for v in self.newer if v.version == self.candidate), None)


def read_answer(output: bytes) -> dict[str, list[str]]:
    """Lines of KEY<TAB>VALUE by their keys; Unreadable when it isn't our script that answers."""
    lines = output.decode("utf-8", "replace").splitlines()
    if not lines or lines[0] != "ovmst\t1":
        raise Unreadable("no answer from the script in the guest")
    answer: dict[str, list[str]] = {}
    for line in lines[1:]:
        key, tab, value = line.partition("\t")
        if tab:
            answer.setdefault(key, []).append(value)
    return answer


def read_parts(data: bytes) -> dict[str, bytes]:
    """A result: parts of a stated length each, the last one being `end`."""
    parts: dict[str, bytes] = {}
    at = 0
    while len(parts) < MOST_PARTS:
        line_end = data.find(b"\n", at, at + 100)
        match = re.fullmatch(rb"([a-z]+) (\d{1,9})", data[at:line_end]) if line_end >= 0 else None
        if match is None:
            raise Unreadable("the result is cut off or damaged")
        name, size = match[1].decode(), int(match[2])
        start = line_end + 1
        if name == "end" and size == 0 and start == len(data):
            return parts
        if name in parts or data[start + size : start + size + 1] != b"\n":
            raise Unreadable(f"the result is cut off or damaged at its part {name}")
        parts[name] = data[start : start + size]
        at = start + size + 1
    raise Unreadable("the result has too many parts")


def read_packages(data: bytes, architecture: str) -> tuple[InstalledPackage, ...]:
    """What dpkg-query lists as installed or left unfinished."""
    packages = []
    for line in _text(data).splitlines():
        fields = line.split("\t")
        if len(fields) != 3 or not re.fullmatch(r"[uihrp][HUFWti]R?", fields[0].strip()):
            raise Unreadable(f"dpkg-query lists {line[:200]!r}")
        name = _name(fields[1])
        if fields[2] or fields[0].strip()[1] not in "H":  # one that never got unpacked has no version
            _version(fields[2])
        packages.append(InstalledPackage(fields[0].strip(), native(name, architecture), fields[2]))
    if not packages:
        raise Unreadable("dpkg-query lists no package at all")
    return tuple(packages)


def read_plan(data: bytes) -> tuple[Planned, ...]:
    """What `apt-get -s upgrade` would install."""
    planned = []
    for line in _text(data).splitlines():
        if not line.startswith("Inst "):
            continue
        match = INSTALL.fullmatch(line)
        if match is None:
            raise Unreadable(f"apt-get's plan says {line[:200]!r}")
        origin = match[4].partition(")")[0]
        planned.append(Planned(_name(match[1]), match[2] or "", _version(match[3]), origin[:200]))
    return tuple(planned)


def read_deferred(data: bytes) -> frozenset[str]:
    """The packages that apt-get defers because their publisher is still phasing them in (apt 2.1.16 on)."""
    names: set[str] = set()
    inside = False
    for line in _text(data).splitlines():
        if inside and line.startswith("  "):
            names.update(line.split())
        else:
            inside = line == DEFERRED
    return frozenset(names)


def read_sources(data: bytes) -> dict[str, Source]:
    """The package indexes by what `apt-cache policy` calls them; dpkg's own record is left out."""
    sources: dict[str, Source] = {}
    where = ""
    for line in _text(data).splitlines():
        if line.startswith("Pinned packages:"):
            break
        if line.startswith("     release "):
            # Labels may hold commas; a part without "x=" belongs to the one before and isn't needed.
            fields = dict(f.partition("=")[::2] for f in line[13:].split(",") if f[1:2] == "=")
            if where and fields.get("a") != "now":
                sources[where] = Source(
                    where,
                    *(fields.get(key, "")[:100] for key in "olan"),
                )
            elif where:
                del sources[where]
        elif match := PACKAGE_FILE.fullmatch(line):
            where = match[2]
            sources[where] = Source(where)
    return sources


def read_policy(data: bytes, sources: dict[str, Source]) -> dict[str, Known]:
    """What `apt-cache policy PACKAGE…` says of each package."""
    known: dict[str, Known] = {}
    name = installed = candidate = ""
    table: list[tuple[bool, str, list[Source], bool]] = []  # installed?, version, sources, phased

    def close() -> None:
        if name:
            at = next((i for i, row in enumerate(table) if row[0]), len(table) if installed == "(none)" else -1)
            if at < 0:
                raise Unreadable(f"apt-cache doesn't list the installed version of {name}")
            newer = tuple(KnownVersion(row[1], tuple(row[2]), row[3]) for row in table[:at])
            known[name] = Known(installed, candidate, newer, any(row[2] for row in table))

    for line in _text(data).splitlines():
        if line.endswith(":") and not line.startswith(" "):
            close()
            name, installed, candidate, table = _name(line[:-1]), "", "", []
        elif line.startswith("  Installed: "):
            installed = line[13:]
        elif line.startswith("  Candidate: "):
            candidate = line[13:]
        elif match := TABLE_VERSION.fullmatch(line):
            table.append((match[1] == "***", _version(match[2]), [], "phased" in match[4]))
        elif (match := TABLE_SOURCE.fullmatch(line)) and table and match[2] in sources:
            table[-1][2].append(sources[match[2]])
    close()
    return known


def native(name: str, architecture: str) -> str:
    return name.removesuffix(f":{architecture}")


def kernel_order(release: str) -> tuple[int, ...]:
    """What says which of two kernels is the newer: "6.1.0-28-cloud-amd64" gives (6, 1, 0, 28)."""
    match = re.match(r"(\d+(?:\.\d+)*)(?:-(\d+)(?=[-+~.]|$))?", release)
    if match is None:
        return ()
    return (*(int(n) for n in match[1].split(".")), int(match[2] or 0))


def newest_kernel(releases: Iterable[str]) -> str:
    """The newest of the installed kernels; "" when there is none. Left-overs of package managers don't count."""
    real = [r for r in releases if not r.endswith((".old", ".bak", "-dbg", "-unsigned")) and ".dpkg-" not in r]
    return max(real, key=kernel_order, default="")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _name(text: str) -> str:
    if len(text) > 200 or not NAME.fullmatch(text):
        raise Unreadable(f"{text[:200]!r} is no name of a package")
    return text


def _version(text: str) -> str:
    if len(text) > 200 or not VERSION.fullmatch(text):
        raise Unreadable(f"{text[:200]!r} is no version of a package")
    return text
