"""What a servicing changed inside a guest: the packages before and after, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from servicing.models import PackageReport, RunTarget
from servicing.updaters.base import Held, Pending

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One package whose version differs. "" where the guest didn't have it."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What two reports say together. Without a report the tool can't tell, and says so: `is_known`.

    `changed` says that a version is another one, not that it is a newer one: only the update system could
    compare them.
    """

    before: datetime | None  # when the reports were taken
    after: datetime | None
    installed: tuple[Change, ...] = ()
    changed: tuple[Change, ...] = ()
    removed: tuple[Change, ...] = ()
    unchanged: int = 0
    pending: tuple[Pending, ...] = ()  # of the later report; security updates first
    was_pending: int | None = None  # how many before

    @property
    def is_known(self) -> bool:
        """Whether there is a before and an after to compare."""
        return self.before is not None and self.after is not None

    @property
    def is_empty(self) -> bool:
        return not (self.installed or self.changed or self.removed)

    @property
    def parts(self) -> tuple[tuple[str, tuple[Change, ...]], ...]:
        """The differences that there are, under the words that pages show."""
        all_parts = (("Installed", self.installed), ("Other version", self.changed), ("Removed", self.removed))
        return tuple((words, changes) for words, changes in all_parts if changes)

    def narrowed(self, text: str) -> "Difference":
        """Only the packages whose name holds `text`, whatever its case. `unchanged` and `was_pending` count
        all, as before."""
        wanted = text.casefold()
        return replace(
            self,
            installed=tuple(c for c in self.installed if wanted in c.name.casefold()),
            changed=tuple(c for c in self.changed if wanted in c.name.casefold()),
            removed=tuple(c for c in self.removed if wanted in c.name.casefold()),
            pending=tuple(p for p in self.pending if wanted in p.name.casefold()),
        )

    @property
    def missing(self) -> tuple[Pending, ...]:
        """Pending updates that keep the machine from being compliant."""
        return tuple(p for p in self.pending if not p.is_exception)

    @property
    def exceptions(self) -> tuple[Pending, ...]:
        """On hold or phased, and no security update."""
        return tuple(p for p in self.pending if p.is_exception)


def of_target(target: RunTarget) -> Difference:
    """The difference that this target made. One query."""
    reports = {report.moment: report for report in PackageReport.objects.filter(target=target)}
    return compare(reports.get(BEFORE), reports.get(AFTER))


def listed(target: RunTarget, text: str = "") -> tuple[str, list[tuple[str, str]]]:
    """All packages of the latest report and their versions, by name, and of which moment it is: "" where there
    is none. `text` narrows them down as in `Difference.narrowed`."""
    reports = {report.moment: report for report in PackageReport.objects.filter(target=target)}
    latest = reports.get(AFTER) or reports.get(BEFORE)
    if latest is None:
        return "", []
    wanted = text.casefold()
    return latest.moment, sorted(pair for pair in _versions(latest).items() if wanted in pair[0].casefold())


def compare(before: PackageReport | None, after: PackageReport | None) -> Difference:
    """What is different in `after`. Either may be missing: then only what is pending is told."""
    latest = after or before
    difference = Difference(
        before=before.taken_at if before else None,
        after=after.taken_at if after else None,
        pending=pending_in(latest) if latest else (),
        was_pending=len(before.pending) if before else None,
    )
    if before is None or after is None:
        return difference
    old, new = _versions(before), _versions(after)
    return Difference(
        before=difference.before,
        after=difference.after,
        installed=tuple(sorted(Change(name, "", new[name]) for name in new.keys() - old.keys())),
        changed=tuple(
            sorted(Change(name, old[name], new[name]) for name in new.keys() & old.keys() if old[name] != new[name])
        ),
        removed=tuple(sorted(Change(name, old[name], "") for name in old.keys() - new.keys())),
        unchanged=sum(1 for name, version in new.items() if old.get(name) == version),
        pending=difference.pending,
        was_pending=difference.was_pending,
    )


def pending_in(report: PackageReport) -> tuple[Pending, ...]:
    """The updates that were pending then: security updates first, exceptions last."""
    found = [_pending(entry) for entry in report.pending]
    return tuple(sorted(found, key=lambda p: (not p.security, p.is_exception, p)))


def _versions(report: PackageReport) -> dict[str, str]:
    return {str(name): str(version) for name, version in report.packages.items()}


def _pending(entry: Mapping[str, Any]) -> Pending:
    known = {field.name for field in fields(Pending)}
    values = {name: value for name, value in entry.items() if name in known}
    try:
        held = Held(values.get("held", ""))
    except ValueError:  # a later version's word: at least it isn't called an exception
        held = Held.KEPT_BACK
    return Pending(**({"installed": "", "offered": ""} | values | {"held": held}))
