"""What a person can do in the simulated world by hand: one table, for a form, and one function that does it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inventory.lab import faults, guards, rules
from inventory.lab.records import Machine
from inventory.lab.state import State
from inventory.lab.storage import checked_scale
from inventory.lab.world import World

LONGEST_TEXT = 200  # characters
LONGEST_SECONDS = 30 * 86400.0
MOST_TIMES = 1000


@dataclass(frozen=True, slots=True)
class Argument:
    """What a deed wants to know. `kind`: "host", "share", "network", "call", "seconds", "times", "scale",
    "text" or "choice"."""

    name: str
    label: str
    kind: str
    choices: tuple[tuple[str, str], ...] = ()  # value, label; of "choice" and "call"
    default: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Deed:
    name: str
    label: str
    on: str  # "machine", "host", "share" or "world"
    does: Callable[..., object] = field(repr=False)  # world, target, arguments by name
    arguments: tuple[Argument, ...] = ()
    help: str = ""
    needs: str = ""  # of a machine: "copy" on a host, "power", or somebody "else" who runs it


_HOST = Argument("host", "Host", "host")
_NETWORK = Argument("network", "Network", "network", default="production")
_SECONDS = Argument("seconds", "Seconds, by the lab's clock", "seconds", default="600")
_TIMES = Argument("times", "How often", "times", default="1")


def _calls(names: tuple[str, ...]) -> Argument:
    return Argument("call", "Call", "call", tuple((name, name.replace("_", " ")) for name in names))


_TIMED = _calls(faults.TAKE_TIME)
_ANY = _calls(tuple(sorted(faults.KNOWN)))
# What can be late is what has an effect.
_LATE = _calls(("mark", "unmark", "fetch", "connect", "protect", "start", "shut_down", "rewind", "store"))


def _set_scale(world: World, _: str, *, scale: float) -> None:
    with world.together() as state:
        state.time_scale = scale


DEEDS = (
    # Others at work
    Deed(
        "start",
        "Start it",
        "machine",
        lambda w, m, **a: w.outsiders.start(m, **a),
        (_HOST, _NETWORK),
        "Somebody else starts it, on another network.",
    ),
    Deed("stop", "Stop what was started by hand", "machine", lambda w, m: w.outsiders.stop(m), needs="else"),
    Deed("power off", "Pull its plug", "machine", lambda w, m: w.outsiders.power_off(m), needs="power"),
    Deed(
        "kill",
        "Kill its process",
        "machine",
        lambda w, m: w.outsiders.kill(m),
        help="The running machine goes away under its guest.",
    ),
    Deed(
        "move to share",
        "Move it to another share",
        "machine",
        lambda w, m, share: w.outsiders.move(m, share=share),
        (Argument("share", "Library share", "share"),),
    ),
    Deed(
        "move to host",
        "Move its copy to another host",
        "machine",
        lambda w, m, host: w.outsiders.move(m, host=host),
        (_HOST,),
        needs="copy",
    ),
    Deed(
        "reconnect",
        "Connect it to another network",
        "machine",
        lambda w, m, network: w.outsiders.reconnect(m, network),
        (_NETWORK,),
    ),
    Deed(
        "publish",
        "Change it in the library",
        "machine",
        lambda w, m: w.outsiders.publish(m),
        help="Its library publishes a new generation that OVMST didn't make.",
    ),
    Deed(
        "mark",
        "Mark it for another installation",
        "machine",
        lambda w, m, installation: w.outsiders.mark(m, installation),
        (Argument("installation", "Installation", "text", default="another installation"),),
    ),
    Deed("delete", "Delete it", "machine", lambda w, m: w.outsiders.delete(m), help="Wherever it is. It is lost."),
    Deed(
        "silence",
        "Make the platform silent about it",
        "machine",
        lambda w, m, seconds: w.faults.silent(m, seconds),
        (_SECONDS,),
    ),
    Deed(
        "lie",
        "Make the platform lie about it",
        "machine",
        lambda w, m, seconds: w.faults.stale(m, seconds),
        (_SECONDS,),
        "For so long it answers as things are now, whatever happens.",
    ),
    # Faults on request
    Deed(
        "slow",
        "A call takes longer",
        "machine",
        lambda w, m, call, seconds: w.faults.slow(call, seconds, machine=m),
        (_TIMED, _SECONDS),
    ),
    Deed(
        "hang",
        "A call hangs",
        "machine",
        lambda w, m, call, effect, times: w.faults.hangs(call, effect=effect == "yes", machine=m, times=times),
        (
            _ANY,
            Argument("effect", "Takes effect nevertheless", "choice", (("no", "No"), ("yes", "Yes")), "no"),
            _TIMES,
        ),
    ),
    Deed(
        "fail",
        "A call fails",
        "machine",
        lambda w, m, call, times, reason: w.faults.fails(
            call, machine=m, times=times, reason=reason or "it failed"
        ),
        (_ANY, _TIMES, Argument("reason", "Reason", "text", default="it failed", required=False)),
    ),
    Deed(
        "fail for good",
        "A call fails for good",
        "machine",
        lambda w, m, call, reason: w.faults.gives_up(call, machine=m, reason=reason or "it never will"),
        (_ANY, Argument("reason", "Reason", "text", default="it never will", required=False)),
    ),
    Deed(
        "die half-way",
        "A call breaks off half-way",
        "machine",
        lambda w, m, call: w.faults.dies_half_way(call, machine=m),
        (_TIMED,),
    ),
    Deed(
        "succeed late",
        "A call takes effect after its time-out",
        "machine",
        lambda w, m, call, seconds: w.faults.succeeds_late(call, seconds, machine=m),
        (_LATE, _SECONDS),
    ),
    # Hosts
    Deed(
        "cut off",
        "Cut it off",
        "host",
        lambda w, h: w.outsiders.cut_off(h),
        help="It doesn't answer; what runs there goes on.",
    ),
    Deed(
        "crash",
        "Crash it",
        "host",
        lambda w, h: w.outsiders.crash(h),
        help="It loses power, and so do its machines.",
    ),
    Deed("back", "Bring it back", "host", lambda w, h: w.outsiders.back(h)),
    Deed(
        "remove network",
        "Take a network away",
        "host",
        lambda w, h, network: w.outsiders.remove_network(h, network),
        (Argument("network", "Network", "network", default="servicing"),),
    ),
    Deed(
        "break isolation",
        "Break its isolation",
        "host",
        lambda w, h: w.outsiders.break_isolation(h),
        help="It says yes to isolated ports and doesn't isolate them.",
    ),
    Deed(
        "fail on host",
        "A call fails there",
        "host",
        lambda w, h, call, times: w.faults.fails(call, host=h, times=times, reason="the host is busy"),
        (_ANY, _TIMES),
    ),
    # Library shares
    Deed("silence share", "Let it not answer", "share", lambda w, s: w.outsiders.share_answers(s, False)),
    Deed("share answers", "Let it answer again", "share", lambda w, s: w.outsiders.share_answers(s, True)),
    Deed("fill", "Fill it up", "share", lambda w, s: w.outsiders.fill(s), help="No space is left on it."),
    Deed("make room", "Make room on it", "share", lambda w, s: w.outsiders.fill(s, full=False)),
    # The world
    Deed(
        "time scale",
        "Let time run faster or slower",
        "world",
        _set_scale,
        (Argument("scale", "Times faster than the wall clock", "scale", default="60"),),
    ),
    Deed("forget faults", "Take back all faults that were asked for", "world", lambda w, _: w.faults.take_back()),
)
BY_NAME = {deed.name: deed for deed in DEEDS}


def perform(world: World, deed: str, target: str = "", **arguments: Any) -> str:
    """Do it, in one transaction; says what was done. Arguments may be text, as a form has it. Raises
    ValueError, with a message for whoever asked, for what doesn't exist or can't be done now."""
    known = BY_NAME.get(deed)
    if known is None:
        raise ValueError(f"Nobody can do {deed[:80]!r}")
    unknown = sorted(set(arguments) - {argument.name for argument in known.arguments})
    if unknown:
        raise ValueError(f"{known.label}: there is no {', '.join(unknown)[:80]} to say")
    with world.together() as state:
        what = _named(state, known.on, target)
        if known.needs:
            _must_have(state.machines[target], known.needs)
        given = {a.name: _checked(state, a, arguments.get(a.name, a.default)) for a in known.arguments}
        known.does(world, target, **given)
    return f"{known.label}: {what}" if what else known.label


def _named(state: State, on: str, target: str) -> str:
    """The target's name. Raises ValueError where it isn't there."""
    if on == "world":
        return ""
    if on == "machine":
        machine = state.machines.get(target)
        if machine is None or machine.gone:
            raise ValueError(f"There is no machine {target[:80]!r}")
        rules.settle(state, machine)
        return machine.name
    found = state.hosts.get(target) if on == "host" else state.shares.get(target)
    if found is None:
        raise ValueError(f"There is no {'host' if on == 'host' else 'library share'} {target[:80]!r}")
    return found.name


def _must_have(machine: Machine, needs: str) -> None:
    if needs == "copy" and machine.copy is None:
        raise ValueError(f"{machine.name} isn't on a host")
    if needs == "power" and not (machine.copy and machine.copy.running):
        raise ValueError(f"{machine.name} isn't running")
    if needs == "else" and not guards.runs_for_outsider(machine):
        raise ValueError(f"Nobody started {machine.name} by hand")


def _checked(state: State, argument: Argument, value: Any) -> Any:
    text = str(value).strip()
    if not text:
        if argument.required:
            raise ValueError(f"{argument.label}: say which")
        return ""
    match argument.kind:
        case "seconds":
            return _number(argument, text, 0, LONGEST_SECONDS)
        case "times":
            return float(round(_number(argument, text, 1, MOST_TIMES)))
        case "scale":
            return checked_scale(_number(argument, text, 0, math.inf))
        case "choice" | "call":
            if text not in dict(argument.choices):
                raise ValueError(f"{argument.label}: {text[:80]!r} is none of {', '.join(dict(argument.choices))}")
        case "host":
            _named(state, "host", text)
        case "share":
            _named(state, "share", text)
        case "network":
            known = sorted({network for host in state.hosts.values() for network in host.networks})
            if text not in known:
                raise ValueError(
                    f"{argument.label}: no host has {text[:80]!r}; there is {', '.join(known) or 'none'}"
                )
        case _:
            if len(text) > LONGEST_TEXT or not text.isprintable():
                raise ValueError(f"{argument.label}: at most {LONGEST_TEXT} printable characters")
    return text


def _number(argument: Argument, text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"{argument.label}: a number from {least:g} to {most:g}, not {text[:80]!r}")
    return number
