"""The two forms of the machines' page that make groups: of the filter itself, and of machines found by it."""

from typing import Any

from django import forms

from ovmst_site.access.gate import Actor, visible
from ovmst_site.access.models import Team
from ovmst_site.web.forms import must_be_seen
from servicing.models import Group


class TeamForm(forms.Form):
    """Who acts for one team isn't asked for it."""

    team = forms.ModelChoiceField(queryset=Team.objects.none(), label="Team", empty_label="Choose a team")

    def __init__(self, *args: Any, by: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["team"]
        field.queryset = visible(by, Team.objects.all(), "change")
        teams = list(field.queryset[:2])
        if len(teams) == 1:
            field.initial, field.widget = teams[0].pk, forms.HiddenInput()


class SaveFilterForm(TeamForm):
    """A group of whatever the filter finds when a run starts."""

    name = forms.CharField(max_length=100, validators=[must_be_seen], label="Name of the group")
    field_order = ["name", "team"]


class ListForm(TeamForm):
    """A list of machines as they are found now: a new group, or one more part of a group that there is."""

    class Scope:
        ROWS, ALL = "rows", "all"

    scope = forms.ChoiceField(
        choices=[(Scope.ROWS, "those selected on this page"), (Scope.ALL, "all that match")],
        widget=forms.RadioSelect,
        initial=Scope.ROWS,
        label="Which machines",
    )
    group = forms.ModelChoiceField(
        queryset=Group.objects.none(), required=False, label="Add to the group", empty_label="a new group"
    )
    name = forms.CharField(max_length=100, required=False, validators=[must_be_seen], label="Name of the new group")
    field_order = ["scope", "group", "name", "team"]

    def __init__(self, *args: Any, by: Actor, total: int, **kwargs: Any) -> None:
        super().__init__(*args, by=by, **kwargs)
        fields: dict[str, Any] = self.fields
        group, scope = fields["group"], fields["scope"]
        mine = visible(by, Group.objects.current().filter(kind=Group.Kind.STATIC), "change")
        group.queryset = mine.select_related("team").order_by("name", "pk")
        all_words = "the one that matches" if total == 1 else f"all {total} that match, on every page"
        scope.choices = [(self.Scope.ROWS, "those selected on this page"), (self.Scope.ALL, all_words)]
        fields["team"].required = False

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if given.get("group") is None and "group" not in self.errors:
            for name, missing in (("name", "Name the new group."), ("team", "Choose a team.")):
                if not given.get(name) and name not in self.errors:
                    self.add_error(name, missing)
        return given
