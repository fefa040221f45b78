"""Small Debian guests as qcow2 images, built from Debian's packages and cached.

| kind      | init    | boots            | in it                                                         |
|-----------|---------|------------------|---------------------------------------------------------------|
| `tiny`    | busybox | kernel directly  | guest agent, dropbear, apt                                    |
| `systemd` | systemd | kernel directly  | guest agent, OpenSSH, apt; toy-held is on hold                |
| `uefi`    | systemd | UEFI, GRUB, disk | guest agent, apt, Debian's oldest cloud kernel; GPT, two parts |
| `silent`  | none    | nothing          | a blank disk: it never answers                                |

All but `silent` have toy, toy-held and toy-secure 1.0, and their package source on the CD (`/mnt/repo`).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from .cache import built, recipe_key
from .commands import HERE, BenchError, run
from .disks import filesystem, gpt_disk, to_qcow2
from .keys import Keys, keys
from .packages import INSTALLED, SUITES, build_packages, kernel_metapackage
from .sources import SUITE, cloud_kernels, debian_sources

KINDS = ("tiny", "systemd", "uefi", "silent")
PACKAGES = {
    "tiny": "qemu-guest-agent busybox-static dropbear-bin kmod",
    "systemd": "systemd-sysv udev dbus kmod iproute2 iputils-ping openssh-server busybox-static qemu-guest-agent",
    "uefi": (
        "systemd-sysv udev dbus kmod iproute2 lz4 busybox initramfs-tools e2fsprogs qemu-guest-agent"
        " openssh-server iputils-ping grub-efi-amd64"
    ),
}
DATA = {  # folders of data/ that are copied over what the packages put there
    "tiny": ("network", "tiny"),
    "systemd": ("network", "systemd"),
    "uefi": ("network", "systemd", "uefi"),
    "silent": (),
}
SIZE_MIB = {"tiny": 1024, "systemd": 1536, "uefi": 1600, "silent": 64}
UNWANTED = ["man", "doc", "locale", "info", "i18n"]
# Nothing of these matters to what is tested, and emulated each costs a second or more of every boot.
MASKED = [
    "systemd-timesyncd",
    "e2scrub_all.timer",
    "e2scrub_reap",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "getty@tty1",
    "serial-getty@ttyS0",
    "modprobe@drm",
    "modprobe@dm_mod",
    "modprobe@loop",
    "modprobe@fuse",
    "modprobe@efi_pstore",
    "systemd-pstore",
    "systemd-update-utmp",
    "systemd-update-utmp-runlevel",
    "systemd-network-generator",
]
APT_SOURCES = "".join(f"deb [trusted=yes] {{}} {suite} main\n" for suite in SUITES)


@dataclass(frozen=True, slots=True)
class Guest:
    """A built guest. `image` is shared by all: copy it, never run on it."""

    kind: str
    image: Path
    host_key: str  # "ssh-ed25519 AAAA…"; "" where there is no SSH server


def build_guest(kind: str) -> Guest:
    """The guest of this kind, from the cache or built now (20 to 60 s)."""
    if kind not in KINDS:
        raise BenchError(f"no kind of guest is called {kind!r}: {', '.join(KINDS)}")
    access = keys()
    sources = ["guests.py", "disks.py", "keys.py", "packages.py", "sources.py"]
    sources += [f"data/{folder}" for folder in DATA[kind]]
    key = recipe_key(*sources, also=[kind, access.host_public])
    folder = built(f"guest-{kind}", key, lambda folder: _build(kind, folder, access))
    return Guest(kind, folder / "disk.qcow2", "" if kind == "silent" else access.host_public)


def apt_sources(uri: str = "file:/mnt/repo") -> str:
    """What a guest's /etc/apt/sources.list says for a repository at that address."""
    return APT_SOURCES.replace("{}", uri)


def _build(kind: str, folder: Path, access: Keys) -> None:
    image = folder / "disk.qcow2"
    if kind == "silent":
        run(["qemu-img", "create", "-q", "-f", "qcow2", image, f"{SIZE_MIB[kind]}M"], timeout=30)
        return
    root = folder / "root"
    try:
        _install(kind, root)
        _common(kind, root, access)
        {"tiny": _tiny, "systemd": _systemd, "uefi": _uefi}[kind](root, access)
        _tidy(root)
        if kind == "uefi":
            raw = gpt_disk(folder, root, SIZE_MIB[kind], _boot_loader(folder))
        else:
            raw = filesystem(folder / "root.raw", root, SIZE_MIB[kind])
        to_qcow2(raw, image)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for file in folder.iterdir():
        if file != image:
            file.unlink()


def _install(kind: str, root: Path) -> None:
    include = PACKAGES[kind].split()
    options = ["--mode=root", "--variant=apt", "--components=main", "--quiet"]
    options += ['--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"']
    options += [f"--dpkgopt=path-exclude=/usr/share/{unwanted}/*" for unwanted in UNWANTED]
    if kind == "uefi":
        include.append(cloud_kernels()[0])
        # Before the kernel's own script makes the first initrd.
        options.append(f'--essential-hook=cp -r "{HERE}/data/uefi/etc" "$1/"')
    options.append(f"--include={','.join(include)}")
    # What it mounts below the root (/proc, /sys, devices) ends with it, also when it is killed: who clears up
    # after it finds files of the guest and nothing of this machine.
    private = ["unshare", "--mount", "--propagation", "private"]
    run([*private, "mmdebstrap", *options, SUITE, root, *debian_sources()], timeout=1500)


def _common(kind: str, root: Path, access: Keys) -> None:
    for data in DATA[kind]:
        copy_tree(HERE / "data" / data, root)
    for name in ("mnt/repo", "root/.ssh"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "root" / ".ssh").chmod(0o700)
    (root / "root" / ".ssh" / "authorized_keys").write_text(access.client_public + "\n")
    (root / "etc" / "hostname").write_text(f"{kind}\n")
    (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost {kind}\n")
    (root / "etc" / "resolv.conf").unlink(missing_ok=True)
    (root / "etc" / "resolv.conf").write_text("")
    packages = build_packages(INSTALLED, root / "tmp")
    if kind == "uefi":
        packages += build_packages([kernel_metapackage(cloud_kernels()[0], "1")], root / "tmp")
    _inside(root, "dpkg", "-i", *(f"/tmp/{package.name}" for package in packages))
    for package in packages:
        package.unlink()


def _tiny(root: Path, access: Keys) -> None:
    (root / "etc" / "fstab").write_text("/dev/vda / ext4 defaults,noatime 0 0\n")
    (root / "sbin" / "init").unlink(missing_ok=True)
    (root / "sbin" / "init").symlink_to("/bin/busybox")
    for tool in ("ip", "mount", "ping", "ps"):
        (root / "usr" / "bin" / tool).symlink_to("/bin/busybox")
    (root / "etc" / "dropbear").mkdir(exist_ok=True)
    shutil.copy2(access.host_private, root / "tmp" / "host_key")
    place = "/etc/dropbear/dropbear_ed25519_host_key"
    _inside(root, "dropbearconvert", "openssh", "dropbear", "/tmp/host_key", place)
    (root / "tmp" / "host_key").unlink()


def _systemd(root: Path, access: Keys) -> None:
    (root / "etc" / "fstab").write_text("/dev/vda / ext4 defaults,noatime 0 0\n")
    _systemd_units(root, access)
    _inside(root, "apt-mark", "hold", "toy-held")


def _uefi(root: Path, access: Keys) -> None:
    (root / "boot" / "efi").mkdir(exist_ok=True)
    (root / "etc" / "fstab").write_text(
        "LABEL=root / ext4 defaults,noatime 0 0\nLABEL=ESP /boot/efi vfat noauto 0 0\n"
    )
    _systemd_units(root, access)
    _inside(root, "systemctl", "enable", "bench-cd")
    version = cloud_kernels()[0].removeprefix("linux-image-")
    # The first boot's only: update-grub writes the guest's own when its kernel is upgraded.
    (root / "boot" / "grub" / "grub.cfg").write_text(
        "set timeout=0\nsearch --no-floppy --label root --set=root\n"
        f"linux /boot/vmlinuz-{version} root=LABEL=root ro console=ttyS0 net.ifnames=0 quiet mitigations=off\n"
        f"initrd /boot/initrd.img-{version}\nboot\n"
    )


def _systemd_units(root: Path, access: Keys) -> None:
    for old in (root / "etc" / "ssh").glob("ssh_host_*"):
        old.unlink()
    shutil.copy2(access.host_private, root / "etc" / "ssh" / "ssh_host_ed25519_key")
    (root / "etc" / "ssh" / "ssh_host_ed25519_key.pub").write_text(access.host_public + "\n")
    # A machine-id of its own from the start: else systemd takes the boot for the first one ever.
    _inside(root, "systemd-machine-id-setup")
    _inside(root, "systemctl", "mask", *MASKED)
    _inside(root, "systemctl", "disable", "systemd-networkd")
    _inside(root, "systemctl", "enable", "bench-network", "ssh")


def _boot_loader(folder: Path) -> Path:
    loader = folder / "BOOTX64.EFI"
    modules = (
        "part_gpt fat ext2 normal configfile search search_label search_fs_uuid linux echo test regexp gzio"
        " all_video serial terminal ls boot reboot"
    )
    argv: list[str | Path] = ["grub-mkimage", "-O", "x86_64-efi", "-o", loader, "-p", "/boot/grub"]
    argv += ["-c", HERE / "data" / "uefi" / "boot" / "grub" / "early.cfg", *modules.split()]
    run(argv, timeout=60)
    return loader


def _tidy(root: Path) -> None:
    """Take out what the build left: package lists, archives, the names of this machine's mirrors."""
    for pattern in (
        "etc/apt/sources.list.d/*",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "var/lib/apt/lists/*_*",
        "var/cache/apt/*.bin",
        "var/cache/apt/archives/*.deb",
        "var/log/apt/*",
        "var/log/*.log",
    ):
        for file in root.glob(pattern):
            file.unlink()
    (root / "etc" / "apt" / "sources.list").write_text(apt_sources())
    # systemd takes a tree as updated where these are as new as /usr (ConditionNeedsUpdate=).
    for name in ("etc/.updated", "var/.updated"):
        (root / name).touch()


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder's files over another's; scripts become executable."""
    for file in source.rglob("*"):
        place = target / file.relative_to(source)
        if file.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.write_bytes(file.read_bytes())
            place.chmod(0o755 if file.read_bytes().startswith(b"#!") else 0o644)


def _inside(root: Path, *argv: str) -> None:
    environment = {"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    run(["chroot", root, *argv], timeout=120, env=environment)
