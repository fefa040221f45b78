"""Groups, as a person writes them. A saved filter's own fields come from the machine filter."""

from typing import Any, cast

from django import forms
from django.http import QueryDict

from ovmst_site.access.gate import Actor
from ovmst_site.access.models import Team
from ovmst_site.web.forms import must_be_seen
from servicing.actions.groups import LONGEST_NAME
from servicing.forms.fields import OneOfField, teams_of
from servicing.models import Group


class GroupForm(forms.Form):
    """A group's name, and its team where a person has several. Which machines are in it is said beside it: chosen
    on the group's page, or by the machine filter."""

    name = forms.CharField(
        max_length=LONGEST_NAME, validators=[must_be_seen], help_text="What lists and jobs call it."
    )
    team = OneOfField(Team.objects.none(), help_text="Whose group it is; only its machines can be in it.")

    version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, by: Actor, group: Group | None = None, **kwargs: Any) -> None:
        if group is not None:
            kwargs["initial"] = {"name": group.name, "version": group.version} | (kwargs.get("initial") or {})
        super().__init__(*args, **kwargs)
        teams = list(teams_of(by)[:2])
        self._only_team = group.team if group is not None else teams[0] if len(teams) == 1 else None
        if self._only_team is not None:
            del self.fields["team"]
        else:
            cast(OneOfField, self.fields["team"]).queryset = teams_of(by)

    def take_up(self, fresh: Group) -> None:
        """Somebody else saved first: saving once more puts what is written here in the place of that."""
        data = cast(QueryDict, self.data).copy()
        data["version"] = str(fresh.version)
        self.data = data

    @property
    def whose(self) -> Team | None:
        """The group's team, as far as that is known."""
        return self._only_team or getattr(self, "cleaned_data", {}).get("team")
