"""How a model says which team its rows belong to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NoTeam:
    """Instead of a path: rows of this model belong to no team, and why.

    Only administrators of the installation see them, unless `everyone` says that they hold nothing private.
    """

    reason: str
    everyone: bool = False
