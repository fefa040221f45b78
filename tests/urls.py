"""The site's URLs, with those of servicing also where the site doesn't include them yet."""

from django.urls import include, path

from ovmst_site.urls import urlpatterns as site

urlpatterns = [*site]
if not any(getattr(pattern, "app_name", None) == "servicing" for pattern in site):
    urlpatterns.insert(0, path("", include("servicing.urls")))
