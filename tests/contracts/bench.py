"""What a platform's driver is tested on: a place with machines and hosts, real or simulated."""

from collections.abc import Callable, Hashable
from typing import Protocol

from inventory.platforms.base import HostRef, MachineRef, Platform


class Bench(Protocol):
    """Makes what a test needs and plays everybody else. Each test has a bench of its own."""

    @property
    def platform(self) -> Platform: ...

    @property
    def guests_listen(self) -> bool:
        """They shut down when asked to; False for disks that boot nothing."""
        ...

    def machine(self, name: str = "a machine") -> MachineRef:
        """A new stored machine with one network adapter, nothing wrong with it."""
        ...

    def host(self) -> HostRef:
        """A maintenance host with a servicing network."""
        ...

    def host_without_network(self) -> HostRef:
        """A maintenance host that lacks the servicing network which its reference names."""
        ...

    def other_network(self) -> str:
        """A network of `host` that isn't its servicing network."""
        ...

    def until(self, reached: Callable[[], bool], what: str) -> None:
        """Let time pass until `reached`; fails the test where that takes too long."""
        ...

    def content(self, machine: MachineRef) -> Hashable:
        """What the library publishes of it: disks, description and firmware state. Equal means the same bits."""
        ...

    def kept(self, machine: MachineRef, generation: str) -> Hashable:
        """The content of one generation that was published once; where the library doesn't keep
        earlier ones, whatever the bench can vouch for."""
        ...

    def host_has(self, machine: MachineRef) -> bool:
        """Whether anything of it is left on a host."""
        ...

    def running(self, machine: MachineRef) -> int:
        """How many instances of it have power, on all hosts."""
        ...

    def guest_writes(self, machine: MachineRef) -> None:
        """Wait until the running guest has changed something on its disks (or make it do so)."""
        ...

    def outsider_starts(self, machine: MachineRef) -> None:
        """Somebody else starts the machine by other means, while it is in the library or on a host."""
        ...

    def outsider_stops(self, machine: MachineRef) -> None: ...

    def outsider_marks(self, machine: MachineRef) -> None:
        """Another installation's marker, over whatever was there."""
        ...

    def outsider_publishes(self, machine: MachineRef) -> str:
        """Somebody else changes what the library publishes; returns the new generation."""
        ...

    def outsider_deletes(self, machine: MachineRef) -> None: ...

    def kill(self, machine: MachineRef) -> None:
        """The running machine goes away under its guest."""
        ...

    def remove_network(self, host: HostRef) -> None:
        """Take the servicing network away from the host."""
        ...

    def host_down(self, host: HostRef) -> None:
        """The host doesn't answer any more."""
        ...

    def host_up(self, host: HostRef) -> None: ...

    def fill_share(self, machine: MachineRef) -> bool:
        """Leave no space on the machine's share; False where the bench can't."""
        ...

    def empty_share(self, machine: MachineRef) -> None:
        """Take back what `fill_share` did."""
        ...
