"""What a person says when they have looked at a machine that needed attention."""

from django import forms

LONGEST_REASON = 4000  # characters


class ResolveForm(forms.Form):
    choice = forms.ChoiceField(
        label="What is to be done",
        choices=[
            ("return", "Bring it back as it was"),
            ("close", "I have done what was needed: close it"),
        ],
        widget=forms.RadioSelect,
        error_messages={"required": "Choose one of the two."},
    )
    reason = forms.CharField(
        max_length=LONGEST_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What you saw and did. It is kept with the machine's history.",
        error_messages={"required": "Say why: the reason is kept with the machine's history."},
    )
