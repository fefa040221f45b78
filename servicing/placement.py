"""Which host a target goes to. Which target starts next is the order in which they are due."""

from collections.abc import Sequence

from inventory.models import Host


def candidates(hosts: Sequence[Host], memory_mb: int) -> list[Host]:
    """The hosts that could take a machine of this size now, the emptiest first.

    Only hosts with a servicing network: without one, nothing is started there. The ledger's conditional
    update has the last word; these are only worth trying.
    """
    fitting = [
        host
        for host in hosts
        if host.servicing_network
        and not host.in_maintenance
        and host.slots_used < host.slots
        and host.memory_used_mb + memory_mb <= host.memory_mb
    ]
    return sorted(fitting, key=lambda host: (host.slots_used / host.slots, host.memory_used_mb, host.pk))
