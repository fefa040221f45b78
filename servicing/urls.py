"""The pages of servicing."""

from django.urls import path

from servicing.views import attention, groups, home, hosts, jobs, log, machine, machines, run, runs, stream, target

app_name = "servicing"
urlpatterns = [
    path("", home.home, name="home"),
    path("hosts/", hosts.hosts, name="hosts"),
    path("hosts/<int:pk>/maintenance/", hosts.maintenance, name="host-maintenance"),
    path("machines/", machines.machines, name="machines"),
    path("machines/<int:pk>/", machine.machine, name="machine"),
    path("machines/<int:pk>/edit/", machine.edit, name="machine-edit"),
    path("machines/<int:pk>/groups/", machine.groups, name="machine-groups"),
    path("machines/<int:pk>/packages/<int:target>/", machine.packages, name="machine-packages"),
    path("groups/", groups.groups, name="groups"),
    path("groups/new/", groups.new, name="group-new"),
    path("groups/sizes/", groups.sizes, name="group-sizes"),
    path("groups/<int:pk>/", groups.group, name="group"),
    path("groups/<int:pk>/edit/", groups.edit, name="group-edit"),
    path("groups/<int:pk>/add/", groups.add, name="group-add"),
    path("groups/<int:pk>/remove/", groups.remove, name="group-remove"),
    path("groups/<int:pk>/copy/", groups.copy, name="group-copy"),
    path("groups/<int:pk>/delete/", groups.delete, name="group-delete"),
    path("jobs/", jobs.jobs, name="jobs"),
    path("jobs/new/", jobs.new, name="job-new"),
    path("jobs/<int:pk>/", jobs.job, name="job"),
    path("jobs/<int:pk>/edit/", jobs.edit, name="job-edit"),
    path("jobs/<int:pk>/copy/", jobs.copy, name="job-copy"),
    path("jobs/<int:pk>/delete/", jobs.delete, name="job-delete"),
    path("jobs/<int:pk>/start/", jobs.start, name="job-start"),
    path("jobs/<int:pk>/plan/", jobs.plan, name="job-plan"),
    path("jobs/<int:pk>/unplan/", jobs.unplan, name="job-unplan"),
    path("attention/", attention.attention, name="attention"),
    path("attention/<int:pk>/", attention.resolve, name="attention-resolve"),
    path("attention/<int:pk>/platform/", attention.platform, name="attention-platform"),
    path("runs/", runs.runs, name="runs"),
    path("runs/<int:pk>/", run.run, name="run"),
    path("runs/<int:pk>/cancel/", run.cancel, name="run-cancel"),
    path("runs/<int:pk>/retry/", run.retry, name="run-retry"),
    path("runs/<int:pk>/targets/<int:target_pk>/", target.target, name="run-target"),
    path("runs/<int:pk>/events", stream.events, name="run-events"),
    path("runs/<int:pk>/log", log.lines, name="run-log"),
    path("runs/<int:pk>/log.txt", log.download, name="run-log-download"),
]
