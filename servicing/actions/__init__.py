"""What people do. Each action asks the gate, checks, acts in one transaction, and nudges the workers.

All take `by`, and raise ValidationError with a form's field names where a form shows them.
"""

from servicing.actions.attention import cancel_run, count_awake, resolve_attention
from servicing.actions.groups import (
    add_to_group,
    copy_group,
    create_group,
    delete_group,
    edit_group,
    remove_members,
)
from servicing.actions.jobs import copy_job, create_job, delete_job, edit_job, plan_job, unplan_job
from servicing.actions.occurrences import start_due_occurrences, start_occurrence
from servicing.actions.preview import Preview, preview, preview_draft
from servicing.actions.start import retry_failed, start_run
from servicing.nudge import QUEUE

__all__ = [
    "QUEUE",
    "Preview",
    "add_to_group",
    "cancel_run",
    "copy_group",
    "copy_job",
    "count_awake",
    "create_group",
    "create_job",
    "delete_group",
    "delete_job",
    "edit_group",
    "edit_job",
    "plan_job",
    "preview",
    "preview_draft",
    "remove_members",
    "resolve_attention",
    "retry_failed",
    "start_due_occurrences",
    "start_occurrence",
    "start_run",
    "unplan_job",
]
