"""The update system of Debian and its kin: apt, each guest with the sources that it is configured for.

All that happens inside the guest is in guest.sh; here is what is asked for, and what the answers mean.
Whatever can't be read or told raises: it is never taken for "nothing pending".
"""

import hashlib
import re
import time
from collections.abc import Iterator
from importlib.resources import files

from inventory.platforms.base import Check, OperationId
from inventory.remote.base import GuestChannel
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater
from servicing.updaters.apt import parsing, verdict
from servicing.updaters.apt.parsing import Unreadable
from servicing.updaters.base import Health, Installed, Readiness, Running, Scan

Answer = dict[str, list[str]]

SCRIPT = files("servicing.updaters.apt").joinpath("guest.sh").read_bytes()
# Named by its content, in a folder that goes with the shut-down: a new version never meets an old one.
SCRIPT_PATH = f"/run/ovmst/guest-{hashlib.sha256(SCRIPT).hexdigest()[:16]}.sh"
STATE = "/var/lib/ovmst"
LARGEST_RESULT = 64_000_000  # bytes; a full desktop's is under 5 MB


class AptUpdater:
    """An Updater for guests with apt. Needs root in the guest; nothing need be installed there beforehand."""

    def check(self) -> Iterator[Check]:
        yield Check("apt: each guest asks its own sources; nothing to reach from here", ok=True)

    def readiness(self, guest: GuestChannel, *, now: float) -> Readiness:
        asked = time.monotonic()
        seconds = guest.run(["/bin/date", "+%s.%N"], deadline=20)
        halfway = now + (time.monotonic() - asked) / 2
        text = seconds.text.strip()
        skew = float(text) - halfway if seconds.exit_code == 0 and re.fullmatch(r"\d{1,12}(\.\d+)?", text) else None
        answer = self._ask(guest, "readiness", deadline=90)
        if errors := answer.get("error"):
            raise GiveUp(f"the guest can't be updated by apt: {'; '.join(errors)[:500]}")
        if "busy" in answer:
            raise TryLater(f"the guest's own updater is installing: {answer['busy'][0]}")
        return verdict.readiness(answer.get("source", []), answer.get("trouble", []), skew)

    def scan(self, guest: GuestChannel, op: OperationId) -> Scan | Running:
        state = self._poll(guest, op, "scan")
        if state.phase == "running":
            return Running(state.note or "refreshing")
        if state.phase == "absent":
            return self._begin(guest, op, "scan")
        try:
            if state.phase == "lost":
                raise TryLater("the scan came to no end in the guest: it is begun anew")
            try:
                parts = self._result(guest, op, state.size)
            except Unreadable as reason:
                raise TryLater(f"the scan's result can't be read: {reason}") from reason
            found = verdict.scan(parts)
        except (TryLater, GiveUp):
            self._forget(guest, op)  # asked again under the same name, it is begun anew
            raise
        if (found.boot, found.stamp) != (state.boot, state.stamp):
            self._forget(guest, op)
            return Running("the guest restarted or changed since it was scanned: it is scanned anew")
        return found.scan

    def install(self, guest: GuestChannel, op: OperationId) -> Installed | Running:
        state = self._poll(guest, op, "install")
        if state.phase == "running":
            return Running(state.note or "installing")
        if state.phase == "absent":
            return self._begin(guest, op, "install")
        if state.phase == "lost":
            why = "the guest restarted meanwhile" if state.restarted else "its process is gone"
            return Installed(False, f"the installation came to no end: {why}", log=state.note)
        try:
            parts = self._result(guest, op, state.size)
            result = verdict.installed(parts)
        except Unreadable as reason:
            return Installed(False, f"what the installation reported can't be read: {reason}", log=state.note)
        if result is None:
            self._forget(guest, op)  # nothing was done, so it may be begun again
            raise TryLater(verdict.BUSY)
        return result

    def restart(self, guest: GuestChannel) -> None:
        if self.is_installing(guest):
            raise TryLater("an installer runs: it isn't restarted meanwhile")
        answer = self._ask(guest, "restart")
        if "restarting" not in answer:
            raise GiveUp(f"the guest can't restart: {_error(answer)}")

    def boot_id(self, guest: GuestChannel) -> str:
        done = guest.run(["/bin/cat", "/proc/sys/kernel/random/boot_id"], deadline=20)
        if not re.fullmatch(r"[0-9a-f-]{36}\n", done.text):
            raise TryLater(f"the guest does not name its boot: {done.stdout[:100]!r}")
        return done.text.strip()

    def is_installing(self, guest: GuestChannel) -> bool:
        answer = self._ask(guest, "installers")
        if "asked" not in answer:
            raise TryLater(f"whether an installer runs can't be told: {_error(answer)}")
        return "holder" in answer or "operation" in answer

    def health(self, guest: GuestChannel) -> Health:
        return verdict.health(self._ask(guest, "health"))

    def tidy(self, guest: GuestChannel) -> None:
        answer = self._ask(guest, "tidy")
        if "tidied" not in answer:
            raise TryLater(f"the guest couldn't be tidied: {_error(answer)}")

    # --- how the script is asked ---------------------------------------------------------------------

    def _ask(self, guest: GuestChannel, verb: str, *args: str, deadline: float = 60) -> Answer:
        """Have the script do a verb; put it there first where it isn't (or isn't whole) yet."""
        argv = ["/bin/sh", SCRIPT_PATH, verb, *args]
        try:
            return parsing.read_answer(guest.run(argv, deadline=deadline).stdout)
        except Unreadable:
            guest.run(["/bin/mkdir", "-p", SCRIPT_PATH.rpartition("/")[0]], deadline=20)
            guest.put(SCRIPT_PATH, SCRIPT, mode=0o700)
        done = guest.run(argv, deadline=deadline)
        try:
            return parsing.read_answer(done.stdout)
        except Unreadable as reason:
            raise TryLater(f"{reason}: it ended with {done.exit_code}, {done.stderr[-300:]!r}") from reason

    def _poll(self, guest: GuestChannel, op: OperationId, kind: str) -> "verdict.State":
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,59}", op):
            raise NeedsAttention(f"{op!r} can't name an operation inside a guest")
        state = verdict.state(self._ask(guest, "poll", op))
        if state.phase != "absent" and state.kind != kind:
            raise NeedsAttention(f"operation {op} is a {state.kind or 'nameless one'} in the guest, not a {kind}")
        return state

    def _begin(self, guest: GuestChannel, op: OperationId, kind: str) -> Running:
        answer = self._ask(guest, "begin", op, kind)
        if "begun" not in answer:
            raise TryLater(f"the {kind} couldn't be begun in the guest: {_error(answer)}")
        return Running(f"{kind} begun")

    def _forget(self, guest: GuestChannel, op: OperationId) -> None:
        answer = self._ask(guest, "forget", op)
        if "forgotten" not in answer:
            raise TryLater(f"operation {op} can't be put aside in the guest: {_error(answer)}")

    def _result(self, guest: GuestChannel, op: OperationId, size: int) -> dict[str, bytes]:
        if size > LARGEST_RESULT:
            raise GiveUp(f"the guest's answer is too big to be one: {size} bytes")
        data = guest.get(f"{STATE}/{op}/result", deadline=120)
        if data is None:
            raise TryLater(f"the result of {op} was there and is gone")
        return parsing.read_parts(data)


def _error(answer: Answer) -> str:
    return "; ".join(answer.get("error", ["it doesn't say why"]))[:500]
