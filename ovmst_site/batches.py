"""Many rows, some at a time: a database takes so many values in one statement and no more."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Thing = TypeVar("Thing")
AT_ONCE = 5000  # ids in one statement; SQLite takes 32,766


def batched(these: Iterable[Thing], size: int = AT_ONCE) -> Iterator[list[Thing]]:
    """These, in their order, in lists of `size` at most."""
    rest = iter(these)
    while some := list(islice(rest, size)):
        yield some
