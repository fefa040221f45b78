"""Judges a refresh of apt's lists by what `apt-get update` said: did it work, and if not, may it pass?"""

import re

from ovmst_site.faults import Fault, GiveUp, TryLater

# Words from apt's own messages (apt-pkg/acquire-item.cc, deb/debmetaindex.cc, methods/*), in LC_ALL=C.
FOR_GOOD = re.compile(
    r"is expired \(invalid since|signatures? (?:were|was|couldn't)|NO_PUBKEY|(?:EXPKEY|REVKEY|BAD|EXP)SIG"
    r"|KEYEXPIRED|is not signed|no longer signed|not signed by|GPG error|OpenPGP|Sub-process \S+ returned"
    r"|changed its '(?:Codename|Origin|Label)'|[Cc]ertificate|Malformed|is not known on line|Conflicting values"
    r"|The list of sources could not be read|\b40[13] |No space left|No sandbox user|doesn't support architecture"
    r"|doesn't have the component|does not have the component|method driver .* could not be found"
)
MAY_PASS = re.compile(
    r"resolv|[Cc]ould not connect|[Cc]onnection|[Uu]nable to connect|[Cc]annot initiate|[Tt]imed? ?out|unreachable"
    r"|No route to host|\b(?:408|429|5\d\d) |Hash Sum mismatch|unexpected size|[Mm]irror sync|Undetermined Error"
    r"|is not valid yet|Could not get lock|Unable to lock|Bad header|[Cc]losed|handshake"
)
GONE = re.compile(r"does not have a Release file|\b404 |File not found|No such file")
# Warnings that leave old lists in place while apt-get (before 2.1.10, which knows no Error-Mode) ends with 0.
FAILED_WARNING = re.compile(
    r"^W: .*(?:Failed to fetch|index files failed|old ones used|previous index files will be used|GPG error"
    r"|could(?:n't| not) be verified|is expired|is not valid yet|doesn't have the component|is not signed)"
)


def fault_of(status: int, log: str) -> Fault | None:
    """None when every list was refreshed; else GiveUp for what waiting won't cure, TryLater for the rest."""
    errors = [line[3:] for line in log.splitlines() if line.startswith("E: ")]
    failed = [line[3:] for line in log.splitlines() if FAILED_WARNING.match(line)]
    if status == 0 and not errors and not failed:
        return None
    messages = [*failed, *errors]
    reason = _shortened(messages) or f"apt-get update ended with {status}"
    if any(FOR_GOOD.search(m) for m in messages):
        return GiveUp(f"the update source can't be trusted or used as it is: {reason}")
    if any(MAY_PASS.search(m) for m in messages):
        return TryLater(f"the refresh failed: {reason}")
    if any(GONE.search(m) for m in messages):
        return GiveUp(f"the update source isn't there any more: {reason}")
    return TryLater(f"the refresh failed: {reason}")


def _shortened(messages: list[str]) -> str:
    """The first few, each once; apt repeats itself."""
    return "; ".join(" ".join(m.split())[:300] for m in list(dict.fromkeys(messages))[:3])
