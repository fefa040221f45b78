"""What can go wrong while a machine is serviced, told apart by what to do next.

Drivers and steps raise these and nothing else on purpose; the engine decides by the type alone.
The message is shown to people: it says what was seen, where, and what to do about it. Never a secret.
"""


class Fault(Exception):
    """Base of the three; not raised itself."""


class TryLater(Fault):
    """It may pass by itself: the same step is tried again until its patience runs out."""


class GiveUp(Fault):
    """It won't pass, and the way back is safe: the machine goes to RETURN, as it was before."""


class NeedsAttention(Fault):
    """A person must look; nothing more is done with this machine until they have."""
