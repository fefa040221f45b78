"""All URLs."""

from django.contrib import admin
from django.urls import include, path

from ovmst_site.access.views import admin_sign_in
from ovmst_site.web.help import help_page

urlpatterns = [
    path("", include("servicing.urls")),
    path("", include("inventory.urls")),
    path("", include("ovmst_site.access.urls")),
    path("help/", help_page, name="help"),
    path("help/<str:name>/", help_page, name="help"),
    path("admin/login/", admin_sign_in),
    path("admin/", admin.site.urls),
]

handler500 = "ovmst_site.web.errors.server_error"
