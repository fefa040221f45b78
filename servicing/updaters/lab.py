"""The built-in lab's update system: speaks to the programs that its simulated guests have."""

import json
from collections.abc import Iterator
from typing import Any

from inventory.platforms.base import Check, OperationId
from inventory.remote.base import GuestChannel
from ovmst_site.faults import GiveUp, TryLater
from servicing.updaters.base import Health, Held, Installed, Package, Pending, Readiness, Running, Scan


class LabUpdater:
    """Updates guests of the simulated world."""

    def check(self) -> Iterator[Check]:
        yield Check("update system lab", True)

    def readiness(self, guest: GuestChannel, *, now: float) -> Readiness:
        answer = _ask(guest, "lab-readiness")
        note = "" if answer["source"] else "The update source can't be reached"
        return Readiness(source=answer["source"], clock_skew=answer["clock"] - now, note=note)

    def scan(self, guest: GuestChannel, op: OperationId) -> Scan | Running:
        answer = _ask(guest, "lab-scan", op)
        match answer["state"]:
            case "running":
                return Running(answer["note"])
            case "failed":
                raise TryLater(f"The refresh failed: {answer['note']}")
            case "refused":
                raise GiveUp(f"The refresh failed: {answer['note']}")
        return Scan(
            pending=tuple(
                Pending(name, installed, offered, origin, security, Held(held))
                for name, installed, offered, origin, security, held in answer["pending"]
            ),
            packages=tuple(Package(name, version) for name, version in answer["packages"]),
            source_offers=answer["source_offers"],
            restart_needed=answer["restart_needed"],
        )

    def install(self, guest: GuestChannel, op: OperationId) -> Installed | Running:
        answer = _ask(guest, "lab-install", op)
        match answer["state"]:
            case "running":
                return Running(answer["note"])
            case "locked":
                raise TryLater(f"Nothing was installed: {answer['note']}")
        return Installed(answer["ok"], answer["note"], answer["log"], restart_needed=answer["restart_needed"])

    def restart(self, guest: GuestChannel) -> None:
        _ask(guest, "lab-restart")

    def boot_id(self, guest: GuestChannel) -> str:
        return str(_ask(guest, "lab-boot-id")["boot"])

    def is_installing(self, guest: GuestChannel) -> bool:
        return bool(_ask(guest, "lab-is-installing")["installing"])

    def health(self, guest: GuestChannel) -> Health:
        problems = tuple(_ask(guest, "lab-health")["problems"])
        return Health(not problems, problems)

    def tidy(self, guest: GuestChannel) -> None:
        _ask(guest, "lab-tidy")


def _ask(guest: GuestChannel, *argv: str) -> dict[str, Any]:
    done = guest.run(list(argv))
    if done.exit_code != 0:
        raise GiveUp(f"{argv[0]} ended with {done.exit_code}: {done.stderr.decode('utf-8', 'replace')}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
