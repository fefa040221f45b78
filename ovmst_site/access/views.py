"""Signing in and out, and one's own password."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import LoginView, PasswordChangeView, redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse, reverse_lazy


class SignIn(LoginView):
    template_name = "access/sign_in.html"
    redirect_authenticated_user = True


@login_not_required
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """The administration's sign-in page is ours. For somebody who is signed in and may not enter, it isn't
    there: sending them to sign in would send them round and round."""
    if request.user.is_authenticated:
        raise Http404("There is no administration for this person")
    return redirect_to_login(request.GET.get("next") or reverse("admin:index"), settings.LOGIN_URL)


class NewPasswordForm(PasswordChangeForm):
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
