"""What people type: forms check its shape, actions decide."""

from servicing.forms.attention import ResolveForm
from servicing.forms.groups import GroupForm
from servicing.forms.jobs import JobForm, PlanForm

__all__ = ["GroupForm", "JobForm", "PlanForm", "ResolveForm"]
