"""The guest that boots by UEFI from its own disk, with a TPM: only where all guests are serviced."""

import pytest

from servicing.models import PackageReport
from tests.vm.serviced import Serviced
from tests.vm.site import log_of

pytestmark = pytest.mark.vm


def test_the_uefi_guest_restarted_into_its_new_kernel(serviced: Serviced):
    log = log_of(serviced.target("uefi"))
    assert "restart: again: restarted" in log
    packages = PackageReport.objects.get(target=serviced.target("uefi"), moment="after").packages
    assert packages["linux-image-cloud-amd64"] == "99", log


def test_nvram_and_tpm_are_carried_as_the_guest_left_them(serviced: Serviced):
    resource = serviced.resources["uefi"]
    first, current = (
        serviced.site.library / resource.external_id / "generations/g000001",
        serviced.site.current(resource),
    )
    assert (current / "nvram.fd").stat().st_size == (first / "nvram.fd").stat().st_size
    assert (current / "nvram.fd").read_bytes() != (first / "nvram.fd").read_bytes()  # firmware writes at each boot
    assert [p for p in (current / "tpm").rglob("*") if p.is_file()]
