"""How forms are drawn, and how a refused action's reasons get to the fields that caused them."""

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.forms.renderers import TemplatesSetting

from ovmst_site.text import can_be_seen


class Renderer(TemplatesSetting):
    """Forms of pages and admin from the project's own templates, Django's where it has none."""

    form_template_name = "components/form.html"
    field_template_name = "components/field.html"


def must_be_seen(name: str) -> None:
    """A validator: what people call something has to be seen in a list, and clicked on."""
    if not can_be_seen(name):
        raise ValidationError("Nobody could see this name: it has no visible character.")


def add_errors(form: forms.BaseForm, error: ValidationError) -> None:
    """Put what an action refused at the field it names; what names none, or one that this form hasn't, on top."""
    if not hasattr(error, "error_dict"):
        form.add_error(None, error)
        return
    for name, errors in error.error_dict.items():
        form.add_error(name if name in form.fields else None, ValidationError(errors))


__all__ = ["NON_FIELD_ERRORS", "Renderer", "add_errors", "must_be_seen"]
