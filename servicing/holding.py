"""What a worker does under its lease: keeps it, and writes down what steps want written."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from inventory.models import Host, LibraryServer
from inventory.platforms.base import HostRef, Marker, OperationId
from ovmst_site.text import clean_json
from servicing import cycle, ledger, placement
from servicing.ledger import Lease
from servicing.looks import TRANSFERS_TAKEN
from servicing.models import Operation, PackageReport, RunTarget
from servicing.updaters.base import Package, Pending

MARGIN = timedelta(seconds=15)
LOOKED_AT = timedelta(minutes=5)  # what waits is looked at more often than this
CHANNEL_CALL = 65.0  # seconds: the longest default deadline of a guest channel, and a little


class Holding:
    """One target under one worker's lease. Implements what servicing.context.Ledger promises to steps.

    Every method raises LeaseLost once another worker may have the target.
    """

    def __init__(
        self,
        lease: Lease,
        target: RunTarget,
        installation: str,
        now: Callable[[], datetime],
        length: timedelta,
    ) -> None:
        self.lease = lease
        self.target = target
        self.installation = installation
        self._now = now
        self._length = length

    def keep_for(self, longest_call: timedelta) -> None:
        """Make sure that the lease outlasts a call of this length, with a margin."""
        now = self._now()
        if self.lease.until - now < longest_call + MARGIN:
            self.lease = ledger.renew(self.lease, now, max(self._length, longest_call + 2 * MARGIN))

    def reserve(self, memory_mb: int) -> HostRef | None:
        if self.target.reserved_mb is not None and self.target.host is not None:
            return self.target.host.ref()
        if self._others_first(memory_mb):
            return None
        for host in placement.candidates(self._hosts(), memory_mb):
            if ledger.reserve(self.lease, host, memory_mb):
                self.target.host, self.target.reserved_mb = host, memory_mb
                return host.ref()
        return None

    def is_stale(self, marker: Marker) -> bool:
        """Whether this marker is of this installation, and its target is over."""
        if marker.installation != self.installation or not marker.target.isdecimal():
            return False
        return RunTarget.objects.filter(pk=int(marker.target), state=RunTarget.State.FINISHED).exists()

    def _others_first(self, memory_mb: int) -> bool:
        """Whether somebody who waits longer, and would fit where this one does, waits for a slot."""
        job = self.target.run.job
        return RunTarget.objects.filter(
            pk__lt=self.target.pk,
            step="place",
            state=RunTarget.State.ACTIVE,
            reserved_mb=None,
            cancel_requested_at=None,
            run__job__host_group=job.host_group_id,
            resource__management_server=self.target.resource.management_server_id,
            resource__memory_mb__lte=memory_mb,
        ).exists()

    def cannot_be_placed(self, memory_mb: int) -> str:
        # Hosts in maintenance count: they come back.
        hosts = [host for host in self._hosts(in_maintenance=True) if host.servicing_network and host.slots]
        if not hosts:
            return "no host of this job has a servicing network and a slot"
        if all(host.memory_mb < memory_mb for host in hosts):
            return f"no host of this job has {memory_mb} MiB for serviced machines"
        return ""

    def release(self) -> None:
        ledger.release(self.lease)

    def take_transfer(self) -> bool:
        share = self.target.resource.share
        if share is None:
            return True
        # Stores come first: a finished machine frees a slot.
        stores = self.target.step == cycle.PUBLISHES
        leave = 0 if stores else self._stores_waiting(share.library_server)
        return ledger.take_transfer(self.lease, share.library_server, leave=leave)

    def _stores_waiting(self, server: LibraryServer) -> int:
        """How many machines of this library server are to be stored and wait for a token alone, or have
        just come. One that waits for something else (its platform doesn't say) holds up nobody, nor does one
        that no worker looks at."""
        return RunTarget.objects.filter(
            step=cycle.PUBLISHES,
            state=RunTarget.State.ACTIVE,
            transfers_on=None,
            tries=0,
            note__in=("", TRANSFERS_TAKEN),
            due_at__gt=self._now() - LOOKED_AT,
            resource__share__library_server=server,
        ).count()

    def give_transfer_back(self) -> None:
        if self.target.transfers_on_id is not None:
            ledger.give_transfer_back(self.lease)

    def operation(self) -> OperationId:
        target = self.target
        return ledger.begin_operation(
            self.lease, self.installation, target.direction, target.step, target.visit, self._now()
        ).name

    def operation_failed(self, reason: str) -> None:
        target = self.target
        ledger.fail_operation(self.lease, target.direction, target.step, target.visit, reason, self._now())

    def owns(self, operation: OperationId) -> bool:
        return Operation.objects.filter(target=self.target, name=operation).exists()

    def has_begun(self) -> bool:
        """Whether this visit of the step has an operation that hasn't failed."""
        target = self.target
        return Operation.objects.filter(
            target=target, direction=target.direction, step=target.step, visit=target.visit, failed_at=None
        ).exists()

    def packages(self, moment: str, packages: Sequence[Package], pending: Sequence[Pending]) -> None:
        values: dict[str, Any] = {
            "taken_at": self._now(),
            "packages": clean_json({package.name: package.version for package in packages}),
            "pending": clean_json(
                [
                    {
                        "name": p.name,
                        "installed": p.installed,
                        "offered": p.offered,
                        "origin": p.origin,
                        "security": p.security,
                        "held": p.held.value,
                    }
                    for p in pending
                ]
            ),
        }
        if moment == "before":  # the first one stays
            PackageReport.objects.get_or_create(target=self.target, moment=moment, defaults=values)
        else:
            PackageReport.objects.update_or_create(target=self.target, moment=moment, defaults=values)

    def _hosts(self, *, in_maintenance: bool = False) -> list[Host]:
        job = self.target.run.job
        server = self.target.resource.management_server
        hosts = Host.objects.filter(group=job.host_group, management_server=server)
        return list(hosts if in_maintenance else hosts.filter(in_maintenance=False))


class Guarded:
    """A driver whose every call first makes sure that the lease outlasts it; so do the channels it hands out.

    A worker whose lease is gone finds out here, before it causes anything. `longest` and `slow` are seconds.
    """

    def __init__(
        self, driver: Any, keep_for: Callable[[timedelta], None], longest: float, slow: Mapping[str, float]
    ) -> None:
        self._driver = driver
        self._keep_for = keep_for
        self._longest = longest
        self._slow = slow

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._driver, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            longest = max(self._slow.get(name, self._longest), kwargs.get("deadline", 0.0))
            self._keep_for(timedelta(seconds=longest))
            result = attribute(*args, **kwargs)
            return Guarded(result, self._keep_for, CHANNEL_CALL, {}) if name == "guest" else result

        return call
