"""The machine as it is now: the library's word, the servicing's state, what the hosts say, and the traces."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from inventory.platforms.base import Adapter, AdapterId, Ended, HostRef, Observed, Place, Power
from inventory.platforms.libvirt import evidence, records, servicing_xml, sights
from inventory.platforms.libvirt.hosts import Host
from inventory.platforms.libvirt.layout import Folder, Unreadable
from inventory.platforms.libvirt.library import Stored, read_stored
from inventory.platforms.libvirt.records import Servicing
from inventory.platforms.libvirt.sights import Sighting, Sights

LAST_EVENT = 3.0  # seconds
Hosts = Sequence[tuple[HostRef, Host]]


def observe(folder: Folder, hosts: Hosts) -> Observed:
    """Never raises for a machine that isn't there, is damaged, or can't be seen in full."""
    try:
        if not folder.exists():
            return _without_library(folder, hosts)
        stored = read_stored(folder)
        marker = records.read_marker(folder)
        found = records.wips(folder)
        work = records.read_work(folder)
        locked = folder.is_locked()
    except Unreadable as error:
        return Observed(Place.UNKNOWN, Power.UNKNOWN, detail=str(error))
    except OSError as error:
        return Observed(Place.UNKNOWN, Power.UNKNOWN, detail=f"{error.strerror}: {error.filename}")
    # A servicing counts as brought to a host whoever owns it; only the marker's owner's can be ours.
    owner = records.owner_of(marker) if marker else ""
    wip = next((each for each in found if each[1].owner == owner), found[0] if found else None)
    seen = sights.look(hosts, stored.description.uuid, folder.path)
    base = Observed(
        place=Place.LIBRARY if wip is None else Place.HOST,
        power=Power.OFF,
        host=wip[1].host if wip else "",
        operation=work.what if work and locked and work.state == "running" else "",
        failed_operation=work.reason if work and work.state == "failed" else "",
        marker=marker,
        adapters={mac: Adapter(net, False) for mac, net in stored.description.adapters.items()},
        generation=stored.generation,
        published_by=stored.manifest.published_by,
    )
    if wip is not None:
        base = _with_servicing(base, wip[0], wip[1], owner, len(found))
    return _with_sights(base, stored, owner, wip, seen, hosts)


def _without_library(folder: Folder, hosts: Hosts) -> Observed:
    if not folder.share_is_there():
        detail = f"the library share {folder.share} isn't there, or is empty: is it mounted on this worker?"
        return Observed(Place.UNKNOWN, Power.UNKNOWN, detail=detail)
    seen = sights.look(hosts, folder.key, folder.path)
    detail = "; ".join([*map(str, seen.seen), *seen.silent])
    if seen.active:
        return Observed(Place.HOST, Power.ON, host=seen.active[0].host.external_id, detail=detail)
    if seen.silent:
        return Observed(Place.UNKNOWN, Power.UNKNOWN, detail=detail)
    return Observed(Place.ABSENT, Power.OFF, detail=detail)


def _with_servicing(base: Observed, wip: Path, servicing: Servicing, owner: str, how_many: int) -> Observed:
    """What is prepared for a start, or left after one."""
    ours = servicing.owner == owner and how_many == 1
    whole = bool(servicing.protected_by) and all((wip / f).is_file() for f in servicing.disks.values())
    adapters: Mapping[AdapterId, Adapter] = base.adapters
    if servicing.networks:
        adapters = {mac: Adapter(net, servicing.isolated) for mac, net in servicing.networks.items()}
    return replace(
        base,
        adapters=adapters,
        own_disks=ours and whole,
        protected=bool(servicing.protected_by),  # the library has the state from before, whatever happens here
        detail="" if ours else f"it holds the servicing of {servicing.owner}",
    )


def _with_sights(
    base: Observed, stored: Stored, owner: str, wip: tuple[Path, Servicing] | None,
    seen: Sights, hosts: Hosts,
) -> Observed:  # fmt: skip
    uuid = stored.description.uuid
    is_ours: Callable[[Sighting], bool] = lambda s: (  # noqa: E731
        wip is not None and bool(owner) and s.is_of(uuid, owner, wip[0])
    )
    others = [s for s in seen.active if not is_ours(s)]
    told = [base.detail] if base.detail else []
    detail = "; ".join([*told, *map(str, [s for s in seen.seen if not is_ours(s)]), *seen.silent])
    if seen.active:
        shown = others[0] if others else seen.active[0]
        return replace(
            base,
            place=Place.HOST,
            power=Power.ON,
            host=shown.host.external_id,
            own_disks=not others and len(seen.active) == 1,
            adapters=shown.live.adapters if shown.live is not None else {},
            detail=detail,
        )
    if seen.silent:
        return replace(base, place=Place.UNKNOWN, power=Power.UNKNOWN, detail=detail)
    if seen.saved:
        return replace(base, power=Power.SAVED, detail=f"{detail} with a saved state")
    if wip is not None and wip[1].started_by:
        return replace(base, ended=how_it_ended(uuid, wip[1], hosts), detail=detail)
    return replace(base, detail=detail)


def how_it_ended(uuid: str, servicing: Servicing, hosts: Hosts) -> Ended:
    """The evidence for the end of its last run: events heard without a gap, else the domain's log."""
    for ref, host in hosts:
        if ref.external_id != servicing.host:
            continue
        told = evidence.from_events(host.events_of(uuid))
        if told is not Ended.UNKNOWN:
            return told
        name = servicing_xml.domain_name(uuid)
        log = evidence.read_log(evidence.log_directory(ref), name, servicing.log_offset)
        told = evidence.from_log(log)
        # It is gone from the list a moment before its last event is heard.
        until = time.monotonic() + LAST_EVENT
        while told is Ended.UNKNOWN and evidence.is_awaited(host.events_of(uuid)) and time.monotonic() < until:
            time.sleep(0.05)
            told = evidence.from_events(host.events_of(uuid))
        return told
    return Ended.UNKNOWN
