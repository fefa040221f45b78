"""What the guest's answers amount to: a scan, an installation's end, health."""

from dataclasses import dataclass

from ovmst_site.faults import GiveUp, TryLater
from servicing.updaters.apt import parsing, refresh
from servicing.updaters.apt.parsing import InstalledPackage, Known, Planned, Source, Unreadable
from servicing.updaters.base import Health, Held, Installed, Package, Pending, Readiness, Scan

Answer = dict[str, list[str]]
BUSY = "another installer has been at work in the guest for ten minutes"
LEFT_UNFINISHED = "left unfinished by dpkg"


@dataclass(frozen=True, slots=True)
class State:
    """How far an operation is, in the guest's words."""

    phase: str  # "absent", "running", "ended", "lost"
    kind: str
    boot: str
    stamp: str  # changes whenever dpkg's record of what is installed does
    size: int
    note: str
    restarted: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A scan, and what it was true for."""

    scan: Scan
    boot: str
    stamp: str


def state(answer: Answer) -> State:
    first = {key: values[0] for key, values in answer.items()}
    size = first.get("size", "0")
    if first.get("state") not in ("absent", "running", "ended", "lost") or not first.get("boot"):
        raise TryLater(f"the guest doesn't say how far it is: {first.get('error', 'no state')[:300]}")
    return State(
        phase=first["state"],
        kind=first.get("kind", ""),
        boot=first["boot"],
        stamp=first.get("stamp", ""),
        size=int(size) if size.isdecimal() and len(size) < 15 else 0,
        note=first.get("note", ""),
        restarted=first.get("begun-boot", first["boot"]) != first["boot"],
    )


def readiness(sources: list[str], trouble: list[str], skew: float | None) -> Readiness:
    """`source` is True when all that were asked answer, False when one doesn't, None when none could be asked."""
    asked = [s.partition(" ")[::2] for s in sources]
    # A server that answers what waiting won't cure was reached (404: a source without InRelease is an older
    # kind): the refresh says what comes of it.
    asked = [(u, "reached" if isinstance(refresh.fault_of(1, a), GiveUp) else a) for u, a in asked]
    unreached = [f"{uri}: {answer}" for uri, answer in asked if answer not in ("", "reached")]
    if trouble:
        return Readiness(False, skew, "; ".join(trouble)[:500])
    if unreached:
        return Readiness(False, skew, "; ".join(unreached)[:500])
    if not sources:
        return Readiness(False, skew, "no update source is configured in the guest")
    if all(answer == "reached" for _, answer in asked):
        return Readiness(True, skew, "")
    return Readiness(None, skew, "whether the update source answers shows only when it is refreshed")


def scan(parts: dict[str, bytes]) -> Found:
    """What is pending. Raises TryLater or GiveUp where the guest couldn't say."""
    try:
        meta = _meta(parts)
        if "busy" in meta:
            raise TryLater(BUSY)
        log = _text(parts, "log")
        if fault := refresh.fault_of(_code(meta, "update"), log):
            raise fault
        for step in ("plan", "sources", "packages", "policy"):
            if _code(meta, step) != 0:
                words = _last_words(_text(parts, step) if step == "plan" else log)
                raise GiveUp(f"apt can't say what is pending in this guest ({step} failed): {words}")
        if "too-big" in meta:
            raise GiveUp(f"the guest's list is too big to be one: {meta['too-big']}")
        return Found(_scan(parts, meta), _first(meta, "boot"), _first(meta, "stamp"))
    except Unreadable as reason:
        raise GiveUp(f"what apt says in this guest can't be read: {reason}") from reason


def _scan(parts: dict[str, bytes], meta: Answer) -> Scan:
    architecture = _first(meta, "architecture")
    packages = parsing.read_packages(_part(parts, "packages"), architecture)
    known = parsing.read_policy(_part(parts, "policy"), parsing.read_sources(_part(parts, "sources")))
    known = {parsing.native(name, architecture): entry for name, entry in known.items()}
    plan = {p.name: p for p in parsing.read_plan(_part(parts, "plan"))}
    deferred = parsing.read_deferred(_part(parts, "plan"))
    if missing := [p.name for p in packages if p.name not in known]:
        raise Unreadable(f"apt-cache says nothing of {len(missing)} installed packages, among them {missing[0]}")

    pending: dict[str, Pending] = {}
    for package in packages:
        held = Held.NO
        if package.name not in plan:
            held = _held(package, known[package.name], deferred)
        if update := _pending(package, known[package.name], plan.get(package.name), held):
            pending[package.name] = update
    for new in plan.values():
        if new.name not in pending:
            security = any(w.partition(":")[0] == "Debian-Security" or "-security" in w for w in new.origin.split())
            pending[new.name] = Pending(new.name, new.installed, new.offered, new.origin, security)
    unknown = [p.name for p in packages if not known[p.name].offered]
    note = f"{len(unknown)} of {len(packages)} packages are in no update source" if unknown else ""
    return Scan(
        pending=tuple(sorted(pending.values())),
        packages=tuple(sorted(Package(p.name, p.version) for p in packages)),
        source_offers=len(unknown) < len(packages),
        restart_needed=bool(restart_reasons(meta, packages)),
        note=note,
    )


def _held(package: InstalledPackage, known: Known, deferred: frozenset[str]) -> Held:
    if package.on_hold:
        return Held.HOLD
    if package.name in deferred or (known.update is not None and known.update.phased):
        return Held.PHASED
    return Held.KEPT_BACK


def _pending(package: InstalledPackage, known: Known, planned: Planned | None, held: Held) -> Pending | None:
    """The update of one installed package; None when it has none."""
    security = any(source.security for version in known.newer for source in version.sources)
    if update := known.update:
        origin = _origin(update.sources)
        return Pending(package.name, package.version, update.version, origin, security, held)
    if planned is not None:  # apt goes to an older version: an administrator pinned it so
        return Pending(package.name, package.version, planned.offered, planned.origin, security)
    if security:  # a security update that a pin in the guest hides: as good as on hold
        hidden = next(v for v in known.newer if any(s.security for s in v.sources))
        return Pending(package.name, package.version, hidden.version, _origin(hidden.sources), True, Held.HOLD)
    if not package.finished:
        return Pending(package.name, "", package.version, LEFT_UNFINISHED)
    return None


def _origin(sources: tuple[Source, ...]) -> str:
    return ", ".join(dict.fromkeys(str(s) for s in sources))[:200]


def installed(parts: dict[str, bytes]) -> Installed | None:
    """Whether an installation did what it had planned. Exit status 0 alone is no proof. None where it wasn't
    begun because of another installer."""
    meta = _meta(parts)
    log = _text(parts, "log")
    if "busy" in meta:
        return None
    architecture = _first(meta, "architecture")
    for step in ("plan", "packages", "audit"):
        if _code(meta, step) != 0:
            words = _last_words(_text(parts, "plan") if step == "plan" else log)
            return Installed(False, f"{step} failed: {words}", log)
    plan = parsing.read_plan(_part(parts, "plan"))
    after = parsing.read_packages(_part(parts, "packages"), architecture)
    now = {p.name: p for p in after}
    unfinished = [p.name for p in after if not p.finished]
    missed = [
        p.name
        for p in plan
        if (package := now.get(parsing.native(p.name, architecture))) is None or package.version != p.offered
    ]
    restart = bool(restart_reasons(meta, after))
    configured = "configure" not in meta or _code(meta, "configure") == 0
    if _code(meta, "upgrade") != 0 or not configured:
        note = f"{_culprits(log) or _last_words(log)}"
        return Installed(False, note, log, restart)
    if unfinished:
        return Installed(False, f"not finished: {', '.join(unfinished)[:300]}", log, restart)
    if missed:
        note = f"apt-get reported success, but these are not at their new version: {', '.join(missed)[:300]}"
        return Installed(False, note, log, restart)
    if audit := _text(parts, "audit").strip():
        return Installed(False, f"dpkg --audit: {' '.join(audit.split())[:300]}", log, restart)
    new = sum(1 for p in plan if not p.installed)
    return Installed(True, f"{len(plan) - new} upgraded, {new} new" if plan else "nothing to install", log, restart)


def health(answer: Answer) -> Health:
    """Hard: dpkg's record, the kernel, read-only file systems. Failed units are told, and judge nothing."""
    if errors := answer.get("error"):
        raise TryLater(f"the guest's health can't be told: {'; '.join(errors)[:300]}")
    problems = [f"unfinished: {name}" for name in answer.get("unfinished", [])]
    problems += [f"dpkg --audit: {text}" for text in answer.get("problem", [])]
    for step in ("audit", "packages"):
        if answer.get(step) != ["0"]:
            problems.append(f"dpkg can't say what is installed ({step}: {answer.get(step, ['no answer'])[0]})")
    images = [i.partition(" ")[::2] for i in answer.get("image", [])]
    problems += restart_reasons(answer, tuple(InstalledPackage("ii", name, version) for name, version in images))
    problems += [f"{place} is mounted read-only" for place in answer.get("readonly", [])]
    told = [f"unit {unit} has failed since it was started" for unit in answer.get("failed", [])]
    return Health(not problems, tuple(problems + told))


def restart_reasons(meta: Answer, packages: tuple[InstalledPackage, ...]) -> list[str]:
    """Why the guest must restart. None where no kernel is installed: then it is booted from outside."""
    reasons = ["the guest asks for a restart"] if "reboot-required" in meta else []
    running = _first(meta, "running")
    images = {
        p.name.partition(":")[0].removeprefix("linux-image-"): p.version
        for p in packages
        if p.name.startswith("linux-image-") and p.finished
    }
    releases = {name.removeprefix("unsigned-") for name in images if parsing.kernel_order(name)}
    newest = parsing.newest_kernel({*releases, *meta.get("kernel", [])})
    if newest and parsing.kernel_order(newest) > parsing.kernel_order(running):
        reasons.append(f"kernel {newest} is installed, {running} runs")
    # Debian's kernel names its package's version: an update that keeps the release shows only there.
    built = _first(meta, "version").partition(" Debian ")[2].partition(" ")[0]
    on_disk = images.get(running, "")
    if built and on_disk and built != on_disk:
        reasons.append(f"kernel {running} is installed as {on_disk}, {built} runs")
    return reasons


def _culprits(log: str) -> str:
    """What dpkg and apt said failed: their own last errors."""
    lines = log.splitlines()
    errors = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("dpkg: error"):  # the reason is on the next line
            errors.append(" ".join(f"{line} {following if line.endswith(':') else ''}".split()))
        elif line.startswith("E: "):
            errors.append(" ".join(line.split()))
    listed: list[str] = []
    if "Errors were encountered while processing:" in lines:
        last = len(lines) - 1 - lines[::-1].index("Errors were encountered while processing:")
        for line in lines[last + 1 :]:
            if not line.startswith(" "):
                break
            listed.append(line.strip())
    who = f"failed: {', '.join(listed)[:200]}; " if listed else ""
    return (who + "; ".join(list(dict.fromkeys(errors))[:3]))[:600]


def _meta(parts: dict[str, bytes]) -> Answer:
    meta = parsing.read_answer(b"ovmst\t1\n" + _part(parts, "meta"))
    if meta.get("format") != ["1"]:
        raise Unreadable("it was written by another version of OVMST")
    return meta


def _part(parts: dict[str, bytes], name: str) -> bytes:
    if name not in parts:
        raise Unreadable(f"{name} is missing")
    return parts[name]


def _text(parts: dict[str, bytes], name: str) -> str:
    return _part(parts, name).decode("utf-8", "replace")


def _code(meta: Answer, step: str) -> int:
    code = _first(meta, step)
    if not code.isdecimal():
        raise Unreadable(f"no exit status of {step}")
    return int(code)


def _first(meta: Answer, key: str) -> str:
    return meta.get(key, [""])[0]


def _last_words(text: str) -> str:
    errors = [line for line in text.splitlines() if line.startswith(("E: ", "dpkg"))] or text.splitlines()
    return "; ".join(" ".join(line.split()) for line in errors[-3:])[:500]
