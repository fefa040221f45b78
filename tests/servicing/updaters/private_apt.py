"""A guest without a machine: real apt and dpkg on a root folder of their own, with packages made on the spot.

No root is needed and nothing of the host's apt is touched. What the driver puts and runs is run for real, by
the shell the test chooses; only the places that guest.sh names at its top are moved under the folder.
"""

import contextlib
import fcntl
import hashlib
import os
import shlex
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from inventory.remote.base import Completed
from ovmst_site.faults import TryLater
from servicing.updaters.apt.driver import AptUpdater
from servicing.updaters.base import Installed, Running, Scan

MOVED = {
    "STATE": "/var/lib/ovmst",
    "RUN": "/run/ovmst",
    "DPKG": "/var/lib/dpkg",
    "BOOT": "/boot",
    "ARCHIVES": "/var/cache/apt/ovmst",
    "QUIET": "/etc/apt/apt.conf.d/99ovmst-quiet",
    "SYSTEMD": "/run/systemd/system",
    "REBOOT_REQUIRED": "/run/reboot-required",
}
STAND_INS = ("shutdown", "reboot", "systemctl", "systemd-run")  # never this machine's own


@dataclass
class LocalChannel:
    """A GuestChannel whose guest is a folder of this machine."""

    root: Path
    shell: str = "/bin/sh"
    runs: list[list[str]] = field(default_factory=list)
    broken: bool = False

    def ping(self, *, deadline: float = 5) -> None:
        self.run(["/bin/true"], deadline=deadline)

    def run(self, argv: list[str], *, stdin: bytes = b"", deadline: float = 60) -> Completed:
        if self.broken:
            raise TryLater("the connection broke")
        self.runs.append(argv)
        if argv[-1] == "restart" and self.at(argv[1]).exists():  # this machine's own must be out of reach
            own = f"PATH={self.root}/bin\n" in self.at(argv[1]).read_text()
            assert own or all((self.root / "bin" / name).exists() for name in STAND_INS)
        argv = [str(self.at(a)) if a.startswith(("/run/ovmst", "/var/lib/ovmst")) else a for a in argv]
        if argv[0] == "/bin/sh":
            argv = [*shlex.split(self.shell), *argv[1:]]
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, timeout=deadline, check=False)
        except subprocess.TimeoutExpired as reason:
            raise TryLater(f"no end within {deadline} s") from reason
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return Completed(code, done.stdout, done.stderr)

    def put(self, path: str, content: bytes, *, mode: int = 0o600, deadline: float = 60) -> None:
        place = self.at(path)
        if path.endswith(".sh"):
            content = self.moved(content.decode()).encode()
        aside = place.with_name(place.name + ".new")
        aside.write_bytes(content)
        aside.chmod(mode)
        aside.rename(place)

    def get(self, path: str, *, deadline: float = 60) -> bytes | None:
        place = self.at(path)
        return place.read_bytes() if place.exists() else None

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def moved(self, script: str) -> str:
        """guest.sh with its places under our root, and our programs first."""
        lines = script.splitlines(keepends=True)
        for i, line in enumerate(lines):
            name, _, rest = line.partition("=")
            if name in MOVED:
                assert rest.split()[0] == MOVED[name], f"{name} has moved: change it here as well"
                lines[i] = f"{name}={shlex.quote(str(self.at(MOVED[name])))}\n"
            elif name == "PATH":
                lines[i] = f"PATH={shlex.quote(str(self.root / 'bin'))}:{rest}"
        assert sum(line.startswith(tuple(f"{n}=" for n in MOVED)) for line in lines) == len(MOVED)
        return "".join(lines)


class OnlyOwnPrograms(LocalChannel):
    """A guest whose PATH holds its own programs and what every Debian has: nothing else of this machine."""

    ESSENTIAL = "env printf tr sed cut cat mkdir stat awk xargs rm head grep setsid sh sleep"

    def moved(self, script: str) -> str:
        for name in self.ESSENTIAL.split():
            link = self.root / "bin" / name
            if not link.exists():
                link.symlink_to(f"/usr/bin/{name}")
        lines = super().moved(script).splitlines(keepends=True)
        return "".join(f"PATH={self.root}/bin\n" if line.startswith("PATH=") else line for line in lines)


@dataclass
class PrivateApt:
    """The folder: a dpkg record, one repository in a file: source, programs that stand before the machine's."""

    root: Path
    shell: str = "/bin/sh"

    def __post_init__(self) -> None:
        for folder in (
            "bin", "boot", "etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial", "var/log/apt", "repo", "run", "debs",
        ):  # fmt: skip
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "var/lib/dpkg/status").touch()
        self.source(f"deb [trusted=yes] file:{self.root}/repo ./")
        dpkg = [
            "/usr/bin/dpkg", f"--root={self.root}", "--force-not-root", "--force-bad-path",
            "--force-script-chrootless", f"--log={self.root}/var/log/dpkg.log",
        ]  # fmt: skip
        self.program("dpkg", f'exec {shlex.join(dpkg)} "$@"')
        self.program("dpkg-query", f'exec /usr/bin/dpkg-query --admindir={self.root}/var/lib/dpkg "$@"')
        (self.root / "apt.conf").write_text(
            f'Dir "{self.root}/"; Dir::State::status "{self.root}/var/lib/dpkg/status";\n'
            f'Dir::Bin::dpkg "{self.root}/bin/dpkg"; Dir::Bin::methods "/usr/lib/apt/methods";\n'
            'APT::Sandbox::User ""; Acquire::Languages "none";\n'
            'APT::Machine-ID "912e43bd1c1d4ba481f9f8ccab25f9ee";\n'
        )
        for name in ("apt-get", "apt-cache", "apt-mark"):
            self.program(name, f'APT_CONFIG={self.root}/apt.conf exec /usr/bin/{name} "$@"')
        self.program("id", 'if [ "$*" = -u ]; then echo 0; else echo root; fi')  # nothing here needs it
        for name in STAND_INS:
            self.program(name, f'echo "{name} $*" >>{self.root}/asked')
        self.kernel("6.1.0-1-cloud-amd64")

    @property
    def channel(self) -> LocalChannel:
        return LocalChannel(self.root, self.shell)

    def program(self, name: str, body: str) -> None:
        """Put a program before the machine's own ones."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def kernel(self, running: str, version: str = "#1 SMP") -> None:
        quoted = shlex.quote(running), shlex.quote(version)
        self.program("uname", f"case $1 in -r) echo {quoted[0]} ;; -v) echo {quoted[1]} ;; esac")

    def source(self, *lines: str) -> None:
        (self.root / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in lines))

    def build(self, name: str, version: str, *, postinst: str = "", conffile: str = "", **fields: str) -> Path:
        """A package, as a file outside any repository."""
        folder = self.root / "debs" / f"{name}_{version}".replace(":", "%")
        (folder / "DEBIAN").mkdir(parents=True, exist_ok=True)
        control = {
            "Package": name, "Version": version, "Architecture": "all", "Maintainer": "Nobody <n@example.org>",
            **{k.replace("_", "-"): v for k, v in fields.items()}, "Description": "made by a test",
        }  # fmt: skip
        (folder / "DEBIAN/control").write_text("".join(f"{k}: {v}\n" for k, v in control.items()))
        if conffile:
            (folder / "DEBIAN/conffiles").write_text(f"/etc/{name}.conf\n")
            (folder / "etc").mkdir(exist_ok=True)
            (folder / f"etc/{name}.conf").write_text(conffile)
        if postinst:
            (folder / "DEBIAN/postinst").write_text(f"#!/bin/sh\n{postinst}\n")
            (folder / "DEBIAN/postinst").chmod(0o755)
        deb = folder.with_name(folder.name + "_all.deb")
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "-b", str(folder), str(deb)],
            check=True, capture_output=True,
        )  # fmt: skip
        return deb

    def install(self, *debs: Path) -> None:
        """Install them as an administrator would have done, long ago."""
        self.dpkg("-i", *map(str, debs))

    def unpack(self, deb: Path) -> None:
        """Leave it as an installation does that was cut off."""
        self.dpkg("--unpack", str(deb))

    def hold(self, name: str) -> None:
        subprocess.run([str(self.root / "bin/apt-mark"), "hold", name], check=True, capture_output=True)

    def dpkg(self, *args: str) -> None:
        done = subprocess.run([str(self.root / "bin/dpkg"), *args], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def publish(self, *debs: Path, repo: str = "repo", release: str = "", index_fields: str = "") -> None:
        """Make these packages the whole of a repository."""
        folder = self.root / repo
        folder.mkdir(exist_ok=True)
        index = ""
        for deb in debs:
            content = deb.read_bytes()
            (folder / deb.name).write_bytes(content)
            control = subprocess.run(["dpkg-deb", "-f", str(deb)], check=True, capture_output=True, text=True)
            index += (
                f"{control.stdout}{index_fields}Filename: ./{deb.name}\nSize: {len(content)}\n"
                f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
            )
        (folder / "Packages").write_text(index)
        digest = hashlib.sha256(index.encode()).hexdigest()
        (folder / "Release").write_text(
            f"{release}Date: {time.strftime('%a, %d %b %Y %H:%M:%S UTC', time.gmtime())}\n"
            f"SHA256:\n {digest} {len(index.encode())} Packages\n"
        )

    def outdated(self, name: str, **fields: str) -> None:
        """One package in version 1 installed, version 2 published."""
        self.install(self.build(name, "1"))
        self.publish(self.build(name, "2", **fields))

    def asked(self, what: str) -> list[str]:
        """How the stand-ins for the machine's own commands were called: the lines with these words."""
        log = self.root / "asked"
        return [line for line in log.read_text().splitlines() if what in line] if log.exists() else []

    def with_systemd(self) -> None:
        """As if systemd ran: a unit is a process of its own, and nothing has failed."""
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.program(
            "systemd-run",
            f'echo "systemd-run $*" >>{self.root}/asked\n'
            'while [ "$1" != /bin/sh ]; do shift; done\nsetsid "$@" >/dev/null 2>&1 </dev/null &',
        )

    def installed(self, name: str) -> str:
        done = subprocess.run(
            [str(self.root / "bin/dpkg-query"), "-W", "-f", "${Version} ${db:Status-Abbrev}", name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.strip()


@contextlib.contextmanager
def locked(apt: PrivateApt) -> Iterator[None]:
    """dpkg's lock, held by a process that isn't ours to stop."""
    file = os.open(apt.root / "var/lib/dpkg/lock-frontend", os.O_RDWR | os.O_CREAT, 0o640)
    fcntl.fcntl(file, fcntl.F_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    try:
        yield
    finally:
        os.close(file)


def scanned(guest: LocalChannel, op: str = "op-scan") -> Scan:
    """Scan to the end."""
    for _ in range(300):
        answer = AptUpdater().scan(guest, op)
        if isinstance(answer, Scan):
            return answer
        time.sleep(0.1)
    raise AssertionError("the scan didn't end in 30 s")


def installed(guest: LocalChannel, op: str = "op-install") -> Installed:
    """Install to the end."""
    answer: Installed | Running = Running()
    for _ in range(300):
        answer = AptUpdater().install(guest, op)
        if isinstance(answer, Installed):
            return answer
        time.sleep(0.1)
    raise AssertionError(f"the installation didn't end in 30 s: {answer}")


def stop_workers(root: Path) -> None:
    """End what an aborted test left running under this folder."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            command = Path("/proc", pid, "cmdline").read_bytes()
        except OSError:
            continue
        if str(root).encode() in command and b"guest.sh" in command:
            os.kill(int(pid), 9)
