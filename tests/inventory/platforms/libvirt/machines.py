"""Small machines: one boot sector is the whole guest, enough to write, to obey the power button, to hang."""

import subprocess
import uuid as uuids
from pathlib import Path

# Real mode code: write this very sector to LBA 1 of the first disk, then …
WRITE = bytes.fromhex("31c08ec0bb007cb80103b90200ba8000cd13")
POWER_OFF = bytes.fromhex("ba0406b80020ef")  # out 0x604, 0x2000: ACPI S5 where SeaBIOS put it
HALT = bytes.fromhex("fbf4ebfc")
# enable the power button in PM1_EN, wait for it in PM1_STS
WAIT_FOR_BUTTON = bytes.fromhex("ba0206b80001effbf4ba0006edf6c40174f5")

GUESTS = {
    "obedient": WRITE + WAIT_FOR_BUTTON + POWER_OFF + HALT,
    "deaf": WRITE + HALT,
    "short-lived": WRITE + POWER_OFF + HALT,
}


def sector(guest: str) -> bytes:
    return GUESTS[guest].ljust(510, b"\0") + b"\x55\xaa"


def make_disk(path: Path, guest: str, *, size: int = 4 << 20) -> Path:
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        file.write(sector(guest))
        file.truncate(size)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(path)], check=True)
    raw.unlink()
    return path


def xml(
    name: str, disk: Path, *, uuid: str = "", mac: str = "52:54:00:aa:00:01", network: str = "production",
    devices: str = "", os: str = "", kind: str = "qemu", top: str = "",
) -> str:  # fmt: skip
    return f"""<domain type='{kind}'>
  <name>{name}</name>
  <uuid>{uuid or uuids.uuid4()}</uuid>
  {top}
  <memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>{os}</os>
  <features><acpi/></features>
  <on_poweroff>restart</on_poweroff>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>
      <target dev='vda' bus='virtio'/></disk>
    <interface type='network'><mac address='{mac}'/><source network='{network}'/><model type='virtio'/></interface>
    <graphics type='vnc' listen='0.0.0.0'/>
    {devices}
  </devices>
</domain>"""


def second_sector(image: Path) -> bytes:
    """What the guest wrote, read through the whole chain."""
    raw = subprocess.run(
        ["qemu-img", "dd", "-U", "-f", "qcow2", "-O", "raw", f"if={image}", "of=/dev/stdout", "bs=512", "skip=1",
         "count=1"],
        capture_output=True, check=False,
    )  # fmt: skip
    if raw.returncode == 0 and len(raw.stdout) == 512:
        return raw.stdout
    out = image.with_name(f".{image.name}.look")
    subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", str(image), str(out)], check=True)
    try:
        return out.read_bytes()[512:1024]
    finally:
        out.unlink()
