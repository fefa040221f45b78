"""The libvirt platform: a share of stored machines, and libvirt hosts on which they are serviced.

Waking copies nothing: the host runs overlays on the library's read-only files, as a transient domain. Storing
publishes the overlays as a new generation, in a process of its own.
"""

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from inventory.platforms.base import (
    AdapterId,
    Check,
    Damaged,
    Facts,
    Found,
    FoundHost,
    FoundMachine,
    HostRef,
    MachineRef,
    Marker,
    NetworkRef,
    Observed,
    Obstacle,
    ObstacleKind,
    OperationId,
    Origin,
    Place,
    Power,
    ServerConfig,
)
from inventory.platforms.libvirt import (
    backing,
    checks,
    domain_xml,
    filework,
    inspecting,
    layout,
    library,
    observing,
    records,
    sights,
    tpm,
    waking,
)
from inventory.platforms.libvirt.domain_xml import BadDescription
from inventory.platforms.libvirt.faults import check_op, plain_faults
from inventory.platforms.libvirt.guest import channel_to
from inventory.platforms.libvirt.hosts import Host, LibvirtError, Limit, host
from inventory.platforms.libvirt.layout import Folder
from inventory.platforms.libvirt.library import Stored, read_stored
from inventory.platforms.libvirt.publish import Order, unfinished
from inventory.platforms.libvirt.records import Servicing
from inventory.platforms.libvirt.servicing_xml import domain_name
from inventory.remote.base import GuestChannel
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater

PROBE = 20.0  # seconds that a guest's firmware gets to show that an accelerator works


class LibvirtPlatform:
    """Implements `Platform`. external_id of a machine: the name of its directory in its share.

    Options of a management server, those of a host win where both may have them:
    - accelerator: auto (the default: KVM where a guest really runs with it), kvm, qemu
    - media_directories: folders of installation media and kernels, parted by colons; the shares count too
    - space_fraction: how much of its disks' size must be free on the share to service a machine (0.1)

    Options of a host: accelerator; log_directory (its /var/log/libvirt/qemu, as workers read it), tpm_directory
    (its /var/lib/libvirt/swtpm, as workers write it), tpm_owner (uid:gid of its TPM emulator, else user tss).
    """

    keeps_original = True
    longest_call = 75.0  # seconds
    # Several calls to libvirt, or programs that read whole images' tables.
    slow_calls: Mapping[str, float] = MappingProxyType(
        {"start": 300.0, "inspect": 240.0, "rewind": 180.0, "check": 300.0}
    )

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._limit = Limit(config.name, config.calls_at_once)
        # One host that hangs may hold half of the calls, not all.
        each = max(1, (config.calls_at_once + 1) // 2)
        self.hosts: list[tuple[HostRef, Host]] = [(ref, host(ref.external_id, each)) for ref in config.hosts]
        self.refs = {ref.external_id: ref for ref in config.hosts}
        media = config.options.get("media_directories", "")
        self.media = [*(m for m in media.split(":") if m.startswith("/"))]
        self.fraction = float(config.options.get("space_fraction", inspecting.SPACE_FRACTION))

    # --- Looking ----------------------------------------------------------------------------------------

    def check(self) -> Iterator[Check]:
        with self._limit.slot():
            yield from checks.check(self.config, self.hosts)

    def inventory(self) -> Iterator[Found]:
        with self._limit.slot():
            for share in self.config.shares:
                yield from library.machines(share)
            for ref, each in self.hosts:
                try:
                    about = each.call("info", deadline=10)
                    stopped = each.call("stopped", deadline=60)
                except LibvirtError as error:
                    raise TryLater(f"{ref}: {error}") from error
                yield FoundHost(ref.external_id, ref.name, about["memory_mb"], tuple(about["networks"]))
                yield from self._stopped(ref, stopped)

    def _stopped(self, ref: HostRef, domains: list[dict[str, str]]) -> Iterator[Found]:
        """Machines that are defined on a host and shut off: not in a library yet."""
        for each in domains:
            where = f"{ref.external_id}#{each['name']}"
            try:
                found = domain_xml.parse(each["xml"].encode())
            except BadDescription as error:
                yield Damaged(where, str(error))
                continue
            yield FoundMachine(
                external_id=f"{ref.external_id}#{found.uuid}",
                name=found.title or found.name,
                kind="stopped",
                share="",
                uuid=found.uuid,
                mac_addresses=tuple(found.adapters),
                operating_system=found.operating_system,
                memory_mb=found.memory_mb,
                cpus=found.cpus,
            )

    def inspect(self, machine: MachineRef) -> Facts:
        if not machine.share:
            reason = "it lies on a host, in no library share: adopt it first (manage.py adopt_machine)"
            return Facts("", {}, 0, (Obstacle(ObstacleKind.REFUSED, reason),))
        with self._limit.slot(), plain_faults():
            return inspecting.inspect(
                self._folder(machine), self.hosts, self.config.shares, self.media_of_all(),
                self.fraction,
            )  # fmt: skip

    def observe(self, machine: MachineRef) -> Observed:
        try:
            with self._limit.slot():
                return observing.observe(self._folder(machine), self.hosts)
        except (TryLater, NeedsAttention) as error:
            return Observed(Place.UNKNOWN, Power.UNKNOWN, detail=str(error))

    def guest(self, machine: MachineRef, host: HostRef) -> GuestChannel:
        with self._limit.slot(), plain_faults():
            stored, marker = self._marked(machine)
            wanted = records.owner_of(marker)
            return channel_to(self.host_of(host.external_id), host, machine.channel, stored.description, wanted)

    # --- Changing ---------------------------------------------------------------------------------------

    def mark(self, machine: MachineRef, marker: Marker) -> None:
        with self._limit.slot(), plain_faults():
            folder = self._folder(machine)
            read_stored(folder)
            with folder.lock():
                there = records.write_marker(folder, marker)
                if marker.same_owner(there):
                    records.drop_work(folder)  # what failed before is another target's story
            if not marker.same_owner(there):
                raise NeedsAttention(
                    f"{machine} carries the marker of target {there.target} of installation {there.installation}"
                )

    def unmark(self, machine: MachineRef, marker: Marker) -> None:
        with self._limit.slot(), plain_faults():
            folder = self._folder(machine)
            if not folder.exists():
                raise NeedsAttention(f"{folder.path} isn't there")
            with folder.lock():
                if not marker.same_owner(records.read_marker(folder)):
                    return
                if records.find_wip(folder, records.owner_of(marker)):
                    raise NeedsAttention(f"{machine} still has its servicing: rewind or store it first")
                records.drop_work(folder)
                folder.marker.unlink()
                layout.sync_directory(folder.path)

    def fetch(self, machine: MachineRef, host: HostRef, op: OperationId) -> None:
        with self._limit.slot(), plain_faults():
            stored, marker = self._marked(machine)
            check_op(op)
            with stored.folder.lock():
                self._must_be_off(stored)
                self._must_be_free(stored, host)
                found = records.find_wip(stored.folder, records.owner_of(marker))
                if found is None:
                    if stored.generation != marker.generation:
                        raise NeedsAttention(
                            f"the library has {stored.generation} of {machine} now, not {marker.generation}"
                        )
                    waking.prepare(stored, marker, host.external_id, op)
                elif found[1].host != host.external_id:
                    if found[1].started_by:
                        raise NeedsAttention(f"{machine} was started on {found[1].host} already")
                    found[1].but(host=host.external_id, networks={}, isolated=False).save(found[0])

    def connect(self, machine: MachineRef, networks: Mapping[AdapterId, NetworkRef], *, isolated: bool) -> None:
        with self._limit.slot(), plain_faults():
            stored, marker = self._marked(machine)
            with stored.folder.lock():
                self._must_be_off(stored)
                found = records.find_wip(stored.folder, records.owner_of(marker))
                if found is None:
                    if not isolated and dict(networks) == stored.description.adapters:
                        return  # rewound: the library never knew other networks than its own
                    raise GiveUp(f"{machine} hasn't been brought to a host")
                wip, servicing = found
                if isolated:
                    ref, its_host = self._ref(servicing.host), self.host_of(servicing.host)
                    for name in set(networks.values()):
                        waking.check_network(its_host, ref, name)
                waking.connect(stored.folder, wip, servicing, networks, isolated)

    def protect(self, machine: MachineRef, op: OperationId) -> None:
        with self._limit.slot(), plain_faults():
            stored, marker = self._marked(machine)
            check_op(op)
            with stored.folder.lock():
                self._must_be_off(stored)
                wip, servicing = self._servicing(stored, marker)
                if not servicing.protected_by:
                    waking.protect(stored, wip, servicing, op)

    def start(self, machine: MachineRef, op: OperationId) -> None:
        with self._limit.slot(), plain_faults():
            stored, marker = self._marked(machine)
            check_op(op)
            with stored.folder.lock():
                wip, servicing = self._servicing(stored, marker)
                ref, its_host = self._ref(servicing.host), self.host_of(servicing.host)
                seen = self.sights_of(stored)
                agent = machine.channel.kind == "agent"
                plan = waking.plan_of(stored, wip, servicing, ref, self._accelerator(ref, its_host), agent, op)
                if not seen.active:
                    self._must_be_free(stored, ref)
                    waking.start(stored, wip, servicing, ref, its_host, plan)
                    return
                for each in seen.active:
                    if not each.is_of(stored.description.uuid, servicing.owner, wip):
                        raise NeedsAttention(f"{machine} was started by somebody else: {each}")
                if any(each.paused for each in seen.active):  # created by a call that died before it resumed
                    waking.verify_and_resume(stored, servicing, ref, its_host, plan)

    def shut_down(self, machine: MachineRef, *, force: bool = False) -> None:
        with self._limit.slot(), plain_faults():
            stored, marker = self._marked(machine)
            found = records.find_wip(stored.folder, records.owner_of(marker))
            for each in self.sights_of(stored).active:
                uuid, owner = stored.description.uuid, records.owner_of(marker)
                if found is None or not each.is_of(uuid, owner, found[0]):
                    raise NeedsAttention(f"{machine} wasn't started by us: {each}")
                self.host_of(each.host.external_id).call(
                    "destroy" if force else "shut_down", deadline=30,
                    uuid=uuid, name=domain_name(uuid), owner=owner,
                )  # fmt: skip

    def rewind(self, machine: MachineRef, origin: Origin) -> None:
        with self._limit.slot(), plain_faults():
            folder = self._folder(machine)
            stored = read_stored(folder)
            marker = records.read_marker(folder)
            with folder.lock():
                if marker is None:
                    if folder.hidden(".wip-"):
                        raise NeedsAttention(f"{machine} has a servicing, but our marker is gone")
                    return
                found = records.find_wip(folder, records.owner_of(marker))
                self._must_be_off(stored)
                if found is not None:
                    if marker.generation != origin.generation:
                        raise NeedsAttention(f"{machine} was woken from {marker.generation}")
                    self._must_not_be_needed(found[0])
                    waking.discard(stored, found[0], found[1], self.refs)
                records.drop_work(folder)

    def store(self, machine: MachineRef, origin: Origin, op: OperationId) -> None:
        with self._limit.slot(), plain_faults():
            check_op(op)
            stored, marker = self._marked(machine)
            under_way = records.read_work(stored.folder)
            if under_way and (under_way.op, under_way.state) == (op, "running") and stored.folder.is_locked():
                return
            lock = stored.folder.lock()
            try:
                found = records.find_wip(stored.folder, records.owner_of(marker))
                if found is None and not unfinished(stored.folder, records.owner_of(marker)):
                    return  # rewound, or published already: nothing of ours is left to bring home
                self._must_be_off(stored)
                if found is not None:
                    wip, servicing = found
                    if not servicing.protected_by:  # never started: it holds copies, and nothing new
                        waking.discard(stored, wip, servicing, self.refs)
                        return
                    waking.take_tpm_back(stored, wip, servicing, self.refs)
                created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                order = Order(machine.share, machine.external_id, op, origin.generation, created)
                filework.start(stored.folder, lock, order)
            finally:
                lock.__exit__()  # the process that publishes holds it on

    # --- What the calls share ---------------------------------------------------------------------------

    def _folder(self, machine: MachineRef) -> Folder:
        if machine.share not in self.config.shares:
            raise NeedsAttention(f"{machine.share!r} is no library share of {self.config.name}")
        return Folder(machine.share, machine.external_id)

    def media_of_all(self) -> list[str]:
        """The folders that media and kernels may lie in."""
        return [*self.media, *self.config.shares]

    def stored(self, machine: MachineRef) -> Stored:
        return read_stored(self._folder(machine))

    def _marked(self, machine: MachineRef) -> tuple[Stored, Marker]:
        """The machine and our marker on it. Raises NeedsAttention where there is none."""
        folder = self._folder(machine)
        stored = read_stored(folder)
        marker = records.read_marker(folder)
        if marker is None:
            raise NeedsAttention(f"{machine} doesn't carry our marker")
        return stored, marker

    def _servicing(self, stored: Stored, marker: Marker) -> tuple[Path, Servicing]:
        found = records.find_wip(stored.folder, records.owner_of(marker))
        if found is None:
            raise GiveUp(f"{stored.folder.path} holds no servicing: it hasn't been brought to a host")
        return found

    def host_of(self, external_id: str) -> Host:
        return next(each for ref, each in self.hosts if ref is self._ref(external_id))

    def _ref(self, external_id: str) -> HostRef:
        if external_id not in self.refs:
            raise NeedsAttention(f"{external_id} is no host of {self.config.name} any more")
        return self.refs[external_id]

    def sights_of(self, stored: Stored) -> sights.Sights:
        """What all hosts say. Raises TryLater unless every one of them answered, or it is seen running."""
        seen = sights.look(self.hosts, stored.description.uuid, stored.folder.path)
        if seen.silent and not seen.active:
            raise TryLater(f"not every host can be asked: {'; '.join(seen.silent)}")
        return seen

    def _must_be_off(self, stored: Stored) -> None:
        seen = self.sights_of(stored)
        marker = records.read_marker(stored.folder)
        for each in seen.active:
            wip = records.find_wip(stored.folder, records.owner_of(marker)) if marker else None
            if wip and marker and each.is_of(stored.description.uuid, records.owner_of(marker), wip[0]):
                raise TryLater(f"it still runs on {each.host}")
            raise NeedsAttention(f"somebody else runs it: {each}")

    def _must_be_free(self, stored: Stored, ref: HostRef) -> None:
        """The host must be able to take it: no twin defined there, and its TPM state within reach."""
        if stored.manifest.tpm:
            tpm.directory_of(ref)
        for each in self.sights_of(stored).seen:
            if each.saved:
                raise GiveUp(f"{each}, with a saved state, which would win over everything")
            if each.by_uuid and each.host.external_id == ref.external_id and not each.active:
                raise GiveUp(f"{each}: two with one UUID can't be on one host")

    def _must_not_be_needed(self, wip: Path) -> None:
        backing.forget()
        outside = backing.on_parts_of(wip, self.config.shares)
        if outside:
            raise NeedsAttention(f"the servicing isn't removed, an image needs it: {'; '.join(outside)}")

    def _accelerator(self, ref: HostRef, its_host: Host) -> str:
        wanted = ref.options.get("accelerator", self.config.options.get("accelerator", "auto"))
        if wanted in ("kvm", "qemu"):
            return wanted
        if not its_host.accelerator:
            works = its_host.call("firmware_runs", deadline=PROBE + 40, accelerator="kvm", seconds=PROBE)
            its_host.accelerator = "kvm" if works else "qemu"
        return its_host.accelerator
