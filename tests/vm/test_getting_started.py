"""docs/getting-started.md is followed: its commands, in its order, on a real machine."""

import re
import shlex
from pathlib import Path

import pytest

from tests.vm.site import PROJECT, RealSite, manage

pytestmark = pytest.mark.vm

GUIDE = PROJECT / "docs" / "getting-started.md"
# What the test site has set up already, or a person does at a prompt.
NOT_HERE = ("migrate", "createsuperuser")


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("python manage.py ")]
    return [shlex.split(line, comments=True)[2:] for line in lines]


def test_the_guides_commands_bring_a_real_machine_up_to_date(site: RealSite, tmp_path: Path):
    from tests.vm.bench.domains import define_guest

    machine = define_guest(site.hosts[0], "first machine", "tiny", site.pool)
    out = site.folder / "given-back"
    out.mkdir(mode=0o755)
    means = {
        "HOST": "host-1",
        "DOMAIN": "first machine",
        "MACHINE": machine.uuid,
        "/srv/library": site.share.path,
        "/var/lib/libvirt/images": str(out),
    }
    said: dict[str, str] = {}
    for words in commands():
        if words[0] in NOT_HERE:
            continue
        if words[0] == "run_job":  # by now the guide has had a group and a job made on the pages
            from inventory.models import StoredResource

            site.job("My job", [StoredResource.objects.get(external_id=machine.uuid)])
        said[words[0]] = manage(*[means.get(word, word) for word in words], ok=words[0] != "doctor")
    assert {"doctor", "adopt_machine", "sync_inventory", "run_job", "hand_out"} <= said.keys()
    # Whether the emulator's user may open /dev/kvm is this machine's affair; all else is the guide's.
    bad = [line for line in said["doctor"].splitlines() if line.startswith("BAD")]
    assert all("/dev/kvm" in line for line in bad), bad
    assert ("all well" in said["doctor"]) is (not bad)
    promised = re.search(r"^run 1: (1 targets, .*)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert promised
    assert promised[1] in said["run_job"]
    assert list(out.iterdir()), "its disks are there, for use"
