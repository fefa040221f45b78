"""What the simulated platform and its driver look at before anything is changed: conditions, no effects."""

from inventory.lab.records import Copy, Host, Machine
from inventory.lab.state import State
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater


def host_of(state: State, external_id: str) -> Host:
    """A host that answers."""
    host = state.hosts.get(external_id)
    if host is None:
        raise GiveUp(f"There is no host {external_id}")
    if not host.answers:
        raise TryLater(f"Host {host.name} doesn't answer")
    return host


def share_answers(state: State, name: str) -> None:
    share = state.shares.get(name)
    if share is None:
        raise GiveUp(f"There is no library share {name}")
    if not share.answers:
        raise TryLater(f"Library share {name} doesn't answer")


def runs_for_outsider(machine: Machine) -> bool:
    """Whether somebody else runs this machine, on our copy or another."""
    copy = machine.copy
    return machine.outsiders_instance is not None or bool(copy and copy.running and copy.running.by_outsider)


def is_ours(machine: Machine) -> bool:
    """There is a copy that fetch made, its marker is still the same one's, and nobody else runs the machine."""
    copy, marker = machine.copy, machine.marker
    if copy is None or marker is None or copy.by_outsider or runs_for_outsider(machine):
        return False
    return copy.owner == (marker.installation, marker.target)


def our_copy(state: State, machine: Machine) -> Copy:
    """The copy on a host that answers, if it is in our hands."""
    if runs_for_outsider(machine):
        raise NeedsAttention(f"{machine.name} was started by somebody else")
    if machine.copy is None:
        raise GiveUp(f"{machine.name} isn't on a host")
    if not is_ours(machine):
        raise NeedsAttention(f"{machine.name} on {machine.copy.host} isn't ours: its marker isn't")
    host_of(state, machine.copy.host)
    return machine.copy


def not_at_work(machine: Machine) -> None:
    if machine.work:
        raise TryLater(f"The platform is busy with {machine.name}: {machine.work.call}")


def repeated(machine: Machine, call: str, op: str) -> bool:
    """The same operation again, as far as the platform can tell: under way, or its result is there."""
    copy = machine.copy
    results = {
        "fetch": {copy.fetched_by} if copy else set(),
        "protect": {copy.protected_by} if copy else set(),
        "store": {g.published_by for g in machine.generations},
    }
    return op in results[call] or bool(machine.work and machine.work.op == op)
