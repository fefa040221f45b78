"""A servicing job, as a person writes it."""

from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import QueryDict

from inventory.models import Credential, HostGroup
from ovmst_site.access.gate import Actor, visible
from ovmst_site.access.models import Team
from ovmst_site.web.forms import must_be_seen
from ovmst_site.web.templatetags.web import duration
from servicing import cycle
from servicing.actions.groups import LONGEST_NAME
from servicing.actions.jobs import EDITABLE
from servicing.forms.fields import CommandsField, OneOfField, StartField, must_lie_ahead, teams_of
from servicing.models import Group, Job, UpdateSystem
from servicing.models.job import LONGEST_PATIENCE

# Steps whose time depends on the machines; a job that says more by other ways keeps it.
PATIENT = {
    "fetch": "Bring to the host",
    "ready": "Wait for the guest to answer",
    "scan": "Scan",
    "install": "Install",
    "restart": "Restart",
    "verify": "Verify",
    "shut_down": "Shut down",
    "store": "Store",
}
MOST_ROUNDS = 1000


class JobForm(forms.Form):
    """All of a job. `job` is the one that is edited; the form carries the version at which it was read."""

    name = forms.CharField(
        max_length=LONGEST_NAME, validators=[must_be_seen], help_text="What lists and alarms call it."
    )
    team = OneOfField(Team.objects.none(), help_text="Whose job it is: its members see and run it.")
    group = OneOfField(Group.objects.none(), help_text="The machines that it services.")
    update_system = OneOfField(UpdateSystem.objects.none(), help_text="What brings the machines up to date.")
    host_group = OneOfField(
        HostGroup.objects.none(), label="Hosts", help_text="Where the machines run while they are serviced."
    )
    credential = OneOfField(
        Credential.objects.none(),
        required=False,
        empty_label="none",
        help_text="Signs in to guests that have no credential of their own.",
    )
    on_failure = forms.ChoiceField(
        choices=Job.OnFailure.choices,
        initial=Job.OnFailure.RESTORE,
        widget=forms.RadioSelect,
        label="When servicing fails",
        help_text="What is stored of a machine that could not be finished.",
    )
    allow_force_off = forms.BooleanField(
        required=False,
        label="Power off a guest that doesn't shut down",
        help_text="After ten minutes, and never while something is being installed. Without this it is restored.",
    )
    rounds = forms.IntegerField(
        min_value=1,
        max_value=MOST_ROUNDS,
        initial=10,
        help_text="Rounds of scan, install and restart before a healthy machine is stored as partial.",
    )
    checks = CommandsField(
        help_text="Programs in the guest that must succeed before it counts as healthy: one a line, with its "
        "arguments, quoted as in a shell. No shell reads them.",
    )
    start_at = StartField(required=False, show_hidden_initial=True)
    enabled = forms.BooleanField(
        required=False, initial=True, label="Switched on", help_text="A job that is switched off starts no run."
    )
    version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, by: Actor, job: Job | None = None, **kwargs: Any) -> None:
        self.job = job
        if job is not None:
            kwargs["initial"] = _initial(job) | (kwargs.get("initial") or {})
        super().__init__(*args, **kwargs)
        self._teams = teams_of(by)
        self._choose(by)
        for name, label in PATIENT.items():
            self.fields[f"patience_{name}"] = _patience_field(name, label)
        if job is not None:
            known = job.patience if isinstance(job.patience, dict) else {}
            for name in PATIENT:
                self.initial.setdefault(f"patience_{name}", known.get(name))

    def _choose(self, by: Actor) -> None:
        """What may be chosen: of the job's team, else of all the person's teams."""
        teams = list(self._teams[:2])
        if self.job is not None or len(teams) == 1:
            del self.fields["team"]
        else:
            cast(OneOfField, self.fields["team"]).queryset = self._teams
        self._only_team = self.job.team if self.job is not None else teams[0] if len(teams) == 1 else None
        rows: dict[str, QuerySet[Any]] = {
            "group": Group.objects.current(),
            "host_group": HostGroup.objects.all(),
            "credential": Credential.objects.all(),
        }
        for name, queryset in rows.items():
            field = cast(OneOfField, self.fields[name])
            theirs = visible(by, queryset.select_related("team"), "change")
            field.with_team = self._only_team is None
            field.queryset = theirs if self._only_team is None else theirs.filter(team=self._only_team)
        cast(OneOfField, self.fields["update_system"]).queryset = visible(by, UpdateSystem.objects.all())
        for name in ("group", "update_system", "host_group"):
            _choose_the_only_one(cast(OneOfField, self.fields[name]))

    @property
    def patience_fields(self) -> list[forms.BoundField]:
        return [self[f"patience_{name}"] for name in PATIENT]

    def clean_start_at(self) -> Any:
        moment = self.cleaned_data["start_at"]
        return must_lie_ahead(moment) if "start_at" in self.changed_data else moment

    def clean(self) -> None:
        starts = self.cleaned_data.get("start_at") and "start_at" in self.changed_data
        if starts and not self.cleaned_data.get("enabled"):
            self.add_error("start_at", "The job is switched off: switch it on, or leave this empty.")

    @property
    def whose(self) -> Team | None:
        """The job's team, as far as that is known."""
        return self._only_team or self.cleaned_data.get("team")

    def settings(self) -> dict[str, Any]:
        """What an action takes: the job's EDITABLE fields."""
        given = {name: self.cleaned_data[name] for name in EDITABLE if name != "patience"}
        patience = dict(self.job.patience) if self.job is not None else {}
        for name in PATIENT:
            minutes = self.cleaned_data[f"patience_{name}"]
            patience.pop(name, None)
            if minutes is not None:
                patience[name] = int(minutes) if minutes == int(minutes) else minutes
        return given | {"patience": patience}

    def take_up(self, fresh: Job) -> list[tuple[str, str, str]]:
        """Somebody else saved first: label, what the job says now, and what was written here, wherever the two
        differ. Saving once more puts this in the place of what `fresh` says."""
        data = cast(QueryDict, self.data).copy()
        data["version"] = str(fresh.version)
        self.data = data
        now = _initial(fresh)
        mine = {name: self[name].value() for name in self.fields}
        found = []
        for name, field in self.fields.items():
            if name in ("version", "team", "start_at"):
                continue
            theirs = fresh.patience.get(name.removeprefix("patience_")) if name not in now else now[name]
            if field.has_changed(field.prepare_value(theirs), mine[name]):
                shown = (_said(field, theirs), _said(field, mine[name]))
                found.append((str(self[name].label), *shown))
        return found


class PlanForm(forms.Form):
    """When a job is to start by itself."""

    start_at = StartField()

    def clean_start_at(self) -> Any:
        return must_lie_ahead(self.cleaned_data["start_at"])


def _initial(job: Job) -> dict[str, Any]:
    values = {name: getattr(job, name) for name in EDITABLE if name != "patience"}
    for name in ("group", "update_system", "host_group", "credential"):
        values[name] = getattr(job, f"{name}_id")
    return values | {"start_at": job.next_start_at, "version": job.version}


def _patience_field(name: str, label: str) -> forms.Field:
    usual = [step.patience for table in cycle.TABLES.values() for step in table if step.name == name]
    longest = max(patience for patience in usual if patience is not None)
    return forms.FloatField(
        required=False,
        min_value=0.1,
        max_value=LONGEST_PATIENCE,
        label=label,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text=f"Minutes; empty: {duration(longest)}.",
    )


def _choose_the_only_one(field: OneOfField) -> None:
    rows = list(field.queryset[:2]) if field.queryset is not None else []
    if len(rows) == 1:
        field.initial = rows[0].pk


def _said(field: forms.Field, value: Any) -> str:
    if isinstance(field, forms.BooleanField):
        return "yes" if value else "no"
    if isinstance(field, forms.ModelChoiceField):
        try:
            row = field.clean(value) if value else None
        except ValidationError:
            return "something that isn't yours to choose"
        return field.label_from_instance(row) if row is not None else "none"
    if isinstance(field, forms.ChoiceField):
        return str(dict(field.choices).get(value, value))  # type: ignore[arg-type]
    prepared = field.prepare_value(value)
    return "nothing" if prepared in (None, "") else str(prepared)
