"""What the simulated platform answers when it is asked about a machine."""

from inventory.lab import guards
from inventory.lab.records import Machine, View
from inventory.lab.state import State


def unknown(detail: str) -> View:
    return View("unknown", "unknown", detail=detail)


def look(state: State, machine: Machine | None) -> View:
    """The machine as it is now."""
    if machine is None or (machine.gone and not machine.copy):
        return View("absent", "off")
    if state.now < machine.silent_until:
        return unknown("the platform doesn't say")
    if state.now < machine.stale_until and machine.stale_view is not None:
        return machine.stale_view
    return truth(state, machine)


def truth(state: State, machine: Machine) -> View:
    """The machine as an honest platform says it is."""
    copy, foreign = machine.copy, machine.outsiders_instance
    for host in {copy.host if copy else "", foreign.host if foreign else ""} - {""}:
        if not state.hosts[host].answers:
            return unknown(f"{state.hosts[host].name} doesn't answer")
    generation = machine.generation(machine.current)
    if not state.shares[machine.share].answers:
        return unknown(f"{machine.share} doesn't answer")
    running = foreign or (copy.running if copy else None)
    adapters = {mac: (network, False) for mac, network in generation.adapters} if generation else {}
    return View(
        place="host" if copy or foreign else "library",
        power="on" if running else "saved" if machine.saved else "off",
        host=running.host if running else copy.host if copy else "",
        operation=machine.work.call if machine.work else "",
        failed=machine.failed,
        marker=machine.marker,
        adapters=dict(copy.adapters) if copy else adapters,
        own_disks=bool(copy and not copy.by_outsider) and not guards.runs_for_outsider(machine),
        protected=bool(copy and copy.before),
        ended=copy.ended if copy else "unknown",
        generation=machine.current,
        published_by=generation.published_by if generation else "",
        detail="somebody else started it" if guards.runs_for_outsider(machine) else "",
    )
