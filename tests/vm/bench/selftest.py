"""Does the bench itself work? python -m tests.vm.bench.selftest [KIND …]

Builds everything, starts two hosts, boots each kind of guest once as a transient domain with an isolated port
on the servicing network, and prints what was seen. Exit status: 0 all as it should be, 1 something isn't,
2 the bench can't run here.
"""

import sys

from .commands import BenchError, require_programs


def main(kinds: list[str]) -> int:
    try:
        require_programs()
    except BenchError as error:
        sys.stderr.write(f"the bench can't run here: {error}\n")
        return 2
    # Not before: it wants libvirt's Python module, which may be what is missing.
    from .checks import check_all
    from .guests import KINDS

    unknown = set(kinds) - set(KINDS)
    if unknown:
        sys.stderr.write(f"no such kind of guest: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}\n")
        return 2
    return 1 if check_all(kinds or list(KINDS)) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
