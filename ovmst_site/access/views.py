"""Signing in and out, and one's own password."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.http import HttpResponse
from django.urls import reverse_lazy


class SignIn(LoginView):
    template_name = "access/sign_in.html"
    redirect_authenticated_user = True


class NewPasswordForm(PasswordChangeForm):  # type: ignore[type-arg]
    """A password that is new: the old one once more would leave it in the hands of whoever chose it."""

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if given.get("new_password1") and given.get("new_password1") == given.get("old_password"):
            self.add_error("new_password1", "This is the password that you have.")
        return given


class ChangePassword(PasswordChangeView):
    form_class = NewPasswordForm
    template_name = "access/change_password.html"
    success_url = reverse_lazy("servicing:home")

    def form_valid(self, form: Any) -> HttpResponse:
        form.user.must_change_password = False  # saved with the password
        answer = super().form_valid(form)
        messages.success(self.request, "Your password is changed.")
        return answer
