"""The pages of servicing."""

from django.urls import path

from servicing.views import home, hosts, machine, machines

app_name = "servicing"
urlpatterns = [
    path("", home.home, name="home"),
    path("hosts/", hosts.hosts, name="hosts"),
    path("hosts/<int:pk>/maintenance/", hosts.maintenance, name="host-maintenance"),
    path("machines/", machines.machines, name="machines"),
    path("machines/<int:pk>/", machine.machine, name="machine"),
    path("machines/<int:pk>/edit/", machine.edit, name="machine-edit"),
    path("machines/<int:pk>/packages/<int:target>/", machine.packages, name="machine-packages"),
]
