"""The pages of the inventory."""

from django.urls import path

from inventory.views import lab, libraries, syncs

app_name = "inventory"
urlpatterns = [
    path("libraries/", libraries.libraries, name="libraries"),
    path("lab/<int:pk>/", lab.lab, name="lab"),
    path("servers/<int:pk>/sync/", libraries.sync_now, name="server-sync"),
    path("syncs/", syncs.syncs, name="syncs"),
    path("syncs/<int:pk>/", syncs.sync, name="sync"),
]
