"""What guests of a filled lab run, and what is offered to them: names and versions as they look in the field."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """A package, from which version to which."""

    package: str
    before: str
    after: str
    origin: str
    security: bool = False
    may_be: str = ""  # how some machines hold it: "hold", "phased", "kept back"


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """Seconds are the world's."""

    name: str
    roles: tuple[str, ...]  # machines are called so
    memory_mb: tuple[int, ...]
    disks_gb: tuple[int, ...]
    boots_in: float
    scans_in: float
    installs_in: float
    offers: tuple[Offer, ...]  # some of them are pending in the first round
    first: tuple[Offer, ...]  # show up after that, and want a restart
    last: tuple[Offer, ...]  # show up after the restart
    others: tuple[tuple[str, str], ...]  # installed and up to date


_SECURITY, _STABLE = "Debian-Security:12/stable-security", "Debian:12.11/stable"
_UBUNTU_SECURITY, _UBUNTU = "Ubuntu:24.04/noble-security", "Ubuntu:24.04/noble-updates"

DEBIAN = OperatingSystem(
    "Debian 12",
    roles=("web", "db", "proxy", "mail", "build-agent"),
    memory_mb=(1024, 2048, 4096),
    disks_gb=(10, 20, 40),
    boots_in=15,
    scans_in=8,
    installs_in=20,
    offers=(
        Offer("openssl", "3.0.15-1~deb12u1", "3.0.17-1~deb12u2", _SECURITY, True),
        Offer("libssl3", "3.0.15-1~deb12u1", "3.0.17-1~deb12u2", _SECURITY, True),
        Offer("openssh-server", "1:9.2p1-2+deb12u5", "1:9.2p1-2+deb12u6", _SECURITY, True),
        Offer("curl", "7.88.1-10+deb12u8", "7.88.1-10+deb12u12", _SECURITY, True),
        Offer("sudo", "1.9.13p3-1+deb12u1", "1.9.13p3-1+deb12u2", _SECURITY, True),
        Offer("tzdata", "2024b-0+deb12u1", "2025b-0+deb12u1", _STABLE),
        Offer("postgresql-15", "15.10-0+deb12u1", "15.13-0+deb12u1", _STABLE, may_be="hold"),
        Offer("base-files", "12.4+deb12u9", "12.4+deb12u11", _STABLE),
        Offer("nginx", "1.22.1-9", "1.22.1-9+deb12u2", _STABLE, may_be="kept back"),
    ),
    first=(
        Offer("linux-image-amd64", "6.1.129-1", "6.1.140-1", _SECURITY, True),
        Offer("libc6", "2.36-9+deb12u9", "2.36-9+deb12u10", _STABLE),
    ),
    last=(Offer("initramfs-tools", "0.142+deb12u1", "0.142+deb12u3", _STABLE),),
    others=(
        ("bash", "5.2.15-2+b7"),
        ("coreutils", "9.1-1"),
        ("systemd", "252.38-1~deb12u1"),
        ("vim-tiny", "2:9.0"),
    ),
)
UBUNTU = OperatingSystem(
    "Ubuntu 24.04",
    roles=("k8s-node", "ci-runner", "cache", "media"),
    memory_mb=(2048, 4096, 8192),
    disks_gb=(16, 32, 64),
    boots_in=18,
    scans_in=10,
    installs_in=25,
    offers=(
        Offer("libssl3t64", "3.0.13-0ubuntu3.4", "3.0.13-0ubuntu3.5", _UBUNTU_SECURITY, True),
        Offer("openssh-server", "1:9.6p1-3ubuntu13.8", "1:9.6p1-3ubuntu13.12", _UBUNTU_SECURITY, True),
        Offer("python3.12", "3.12.3-1ubuntu0.4", "3.12.3-1ubuntu0.7", _UBUNTU_SECURITY, True),
        Offer("sudo", "1.9.15p5-3ubuntu5", "1.9.15p5-3ubuntu5.24.04.1", _UBUNTU_SECURITY, True),
        Offer("snapd", "2.66.1+24.04", "2.68.5+ubuntu24.04.1", _UBUNTU, may_be="phased"),
        Offer("cloud-init", "24.4-0ubuntu1~24.04.2", "25.1.2-0ubuntu0~24.04.1", _UBUNTU, may_be="phased"),
        Offer("containerd", "1.7.24-0ubuntu1~24.04.1", "1.7.27-0ubuntu1~24.04.1", _UBUNTU, may_be="hold"),
        Offer("apt", "2.7.14build2", "2.8.3", _UBUNTU),
    ),
    first=(
        Offer("linux-image-generic", "6.8.0-51.52", "6.8.0-63.66", _UBUNTU_SECURITY, True),
        Offer("libc6", "2.39-0ubuntu8.3", "2.39-0ubuntu8.5", _UBUNTU_SECURITY, True),
    ),
    last=(Offer("linux-tools-common", "6.8.0-51.52", "6.8.0-63.66", _UBUNTU),),
    others=(("bash", "5.2.21-2ubuntu4"), ("netplan.io", "1.1.2-2~ubuntu24.04.1"), ("systemd", "255.4-1ubuntu8.8")),
)
WINDOWS = OperatingSystem(
    "Windows Server 2022",
    roles=("dc", "file", "print", "sql", "app", "terminal"),
    memory_mb=(4096, 8192, 16384),
    disks_gb=(40, 80, 120),
    boots_in=30,
    scans_in=20,
    installs_in=45,
    offers=(
        Offer(".NET Framework 4.8", "4.8.9290", "4.8.9316", "KB5062064", True),
        Offer("Microsoft Defender Antivirus platform", "4.18.25040.2", "4.18.25060.7", "KB4052623"),
        Offer("Malicious Software Removal Tool", "5.133", "5.135", "KB890830"),
        Offer("Microsoft Edge", "137.0.3296.52", "138.0.3351.83", "Microsoft Update", True),
        Offer("SQL Server 2022", "16.0.4185.3", "16.0.4200.1", "KB5059390", may_be="hold"),
    ),
    first=(
        Offer("Windows Server 2022", "20348.3807", "20348.3932", "KB5062572", True),
        Offer("Servicing stack", "20348.3800", "20348.3920", "KB5062800", True),
    ),
    last=(Offer("Windows Recovery Environment", "20348.3328", "20348.3804", "KB5063522"),),
    others=(("PowerShell 7", "7.4.10.0"), ("Visual C++ 2022 Redistributable", "14.42.34433")),
)
SYSTEMS = (DEBIAN, UBUNTU, WINDOWS)
