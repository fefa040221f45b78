"""The home page: what needs attention, what runs, what comes."""

from django.http import HttpRequest, HttpResponse

from ovmst_site.web.http import page_or_partial


def home(request: HttpRequest) -> HttpResponse:
    return page_or_partial(request, "servicing/home.html", "servicing/home_now.html", {})
