"""What is done about it: groups, jobs, runs and what happened in them."""

from servicing.models.generation import Generation, PackageReport
from servicing.models.group import Group
from servicing.models.installation import Installation
from servicing.models.job import Job, UpdateSystem
from servicing.models.occurrence import Occurrence
from servicing.models.record import Event, Operation, StepRecord
from servicing.models.run import Run, RunTarget

__all__ = [
    "Event",
    "Generation",
    "Group",
    "Installation",
    "Job",
    "Occurrence",
    "Operation",
    "PackageReport",
    "Run",
    "RunTarget",
    "StepRecord",
    "UpdateSystem",
]
