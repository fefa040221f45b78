"""The built-in lab: a simulated platform for demonstrations, tests and what-if questions."""

from collections.abc import Iterator, Mapping

from inventory.lab import worlds
from inventory.lab.channel import LabChannel
from inventory.lab.records import Machine, Mark
from inventory.lab.world import CALL_DEADLINE, World
from inventory.platforms.base import (
    Adapter,
    AdapterId,
    Check,
    Damaged,
    Ended,
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
from inventory.remote.base import GuestChannel
from ovmst_site.faults import GiveUp, TryLater


class LabPlatform:
    """Drives the simulated world that the server's address names."""

    longest_call = CALL_DEADLINE
    slow_calls: Mapping[str, float] = {}

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._world = worlds.get(config.address)
        self.keeps_original = self._world.keeps_original

    def check(self) -> Iterator[Check]:
        yield Check(f"lab {self._config.name}", True)
        hosts = {host.id: host for host in self._world.hosts()}
        for ref in self._config.hosts:
            host = hosts.get(ref.external_id)
            if host is None:
                yield Check(f"host {ref.name}", False, "The lab has no such host: correct its external id")
            elif not host.answers:
                yield Check(f"host {ref.name}", False, "It doesn't answer: start it")
            else:
                found = ref.servicing_network in host.networks
                advice = "" if found else f"It has no network {ref.servicing_network!r}: name one that it has"
                yield Check(f"host {ref.name}", found, advice)
        shares = {share.name: share for share in self._world.shares()}
        for name in self._config.shares:
            share = shares.get(name)
            if share is None:
                yield Check(f"share {name}", False, "The lab has no such library share: correct its name")
            else:
                yield Check(f"share {name}", share.answers, "" if share.answers else "It doesn't answer")

    def inventory(self) -> Iterator[Found]:
        hosts, shares = self._world.hosts(), {share.name: share for share in self._world.shares()}
        silent = [host.name for host in hosts if not host.answers]
        silent += [name for name in self._config.shares if name in shares and not shares[name].answers]
        if silent:
            raise TryLater(f"{', '.join(silent)}: no answer")
        if missing := [name for name in self._config.shares if name not in shares]:
            raise GiveUp(f"No such library share: {', '.join(missing)}")
        for host in hosts:
            yield FoundHost(host.id, host.name, host.memory_mb, tuple(sorted(host.networks)))
        for machine in self._world.machines():
            if machine.share in self._config.shares:
                yield _found(machine)
        for where, reason in self._world.damaged():
            yield Damaged(where, reason)

    def inspect(self, machine: MachineRef) -> Facts:
        seen = self._world.look(machine.external_id, "inspect")
        record = self._world.machine(machine.external_id)
        if seen.place == Place.UNKNOWN:
            raise TryLater(f"{machine}: {seen.detail}")
        if record is None or seen.place == Place.ABSENT:
            raise GiveUp(f"{machine} isn't there any more")
        obstacles = [Obstacle(ObstacleKind(kind), reason) for kind, reason in record.obstacles]
        if record.saved:
            obstacles.append(Obstacle(ObstacleKind.REFUSED, "It has a saved state: starting it would resume that"))
        if seen.power == Power.ON:
            obstacles.append(Obstacle(ObstacleKind.REFUSED, f"It is running on {seen.host}"))
        if twins := self._world.twins(record):
            obstacles.append(Obstacle(ObstacleKind.DECISION, f"It has the same identity as {', '.join(twins)}"))
        adapters = {mac: network for mac, (network, _) in seen.adapters.items()}
        return Facts(seen.generation, adapters, record.memory_mb, tuple(obstacles))

    def observe(self, machine: MachineRef) -> Observed:
        seen = self._world.look(machine.external_id)
        return Observed(
            place=Place(seen.place),
            power=Power(seen.power),
            host=seen.host,
            operation=seen.operation,
            failed_operation=seen.failed,
            marker=_marker(seen.marker),
            adapters={mac: Adapter(network, isolated) for mac, (network, isolated) in seen.adapters.items()},
            own_disks=seen.own_disks,
            protected=seen.protected,
            ended=Ended(seen.ended),
            generation=seen.generation,
            published_by=seen.published_by,
            detail=seen.detail,
        )

    def guest(self, machine: MachineRef, host: HostRef) -> GuestChannel:
        return LabChannel(self._world, machine.external_id, host.external_id)

    def mark(self, machine: MachineRef, marker: Marker) -> None:
        adapters = tuple(sorted(marker.adapters.items()))
        mark = Mark(marker.installation, marker.target, marker.share, marker.generation, adapters)
        self._world.perform("mark", machine.external_id, marker=mark)

    def unmark(self, machine: MachineRef, marker: Marker) -> None:
        self._world.perform("unmark", machine.external_id, installation=marker.installation, target=marker.target)

    def fetch(self, machine: MachineRef, host: HostRef, op: OperationId) -> None:
        self._world.perform("fetch", machine.external_id, host=host.external_id, op=op)

    def connect(self, machine: MachineRef, networks: Mapping[AdapterId, NetworkRef], *, isolated: bool) -> None:
        self._world.perform("connect", machine.external_id, networks=dict(networks), isolated=isolated)

    def protect(self, machine: MachineRef, op: OperationId) -> None:
        self._world.perform("protect", machine.external_id, op=op)

    def start(self, machine: MachineRef, op: OperationId) -> None:
        networks = {host.external_id: host.servicing_network for host in self._config.hosts}
        self._world.perform("start", machine.external_id, op=op, networks=networks)

    def shut_down(self, machine: MachineRef, *, force: bool = False) -> None:
        self._world.perform("shut_down", machine.external_id, force=force)

    def rewind(self, machine: MachineRef, origin: Origin) -> None:
        self._world.perform("rewind", machine.external_id, generation=origin.generation)

    def store(self, machine: MachineRef, origin: Origin, op: OperationId) -> None:
        self._world.perform("store", machine.external_id, share=origin.share, generation=origin.generation, op=op)


def server_config(name: str, world: World | None = None) -> ServerConfig:
    """What describes all of a simulated world, for tests and demonstrations."""
    if world is not None:
        worlds.use(name, world)
    world = worlds.get(name)
    hosts = tuple(HostRef(host.id, host.name, host.servicing_network) for host in world.hosts())
    shares = tuple(share.name for share in world.shares())
    return ServerConfig(name=name, address=name, hosts=hosts, shares=shares, work_folder="")


def _found(machine: Machine) -> FoundMachine:
    newest = machine.generations[-1]
    return FoundMachine(
        external_id=machine.id,
        name=machine.name,
        kind=machine.kind,
        share=machine.share,
        uuid=machine.uuid,
        mac_addresses=tuple(mac for mac, _ in newest.adapters),
        computer_name=machine.computer_name,
        operating_system=machine.operating_system,
        memory_mb=machine.memory_mb,
        cpus=machine.cpus,
        disk_bytes=machine.disk_bytes,
        generation=machine.current,
    )


def _marker(mark: Mark | None) -> Marker | None:
    if mark is None:
        return None
    return Marker(mark.installation, mark.target, mark.share, mark.generation, dict(mark.adapters))
