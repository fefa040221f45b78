"""The pages of servicing."""

from django.urls import path

from servicing.views import home, log, run, runs, stream, target

app_name = "servicing"
urlpatterns = [
    path("", home.home, name="home"),
    path("runs/", runs.runs, name="runs"),
    path("runs/<int:pk>/", run.run, name="run"),
    path("runs/<int:pk>/cancel/", run.cancel, name="run-cancel"),
    path("runs/<int:pk>/retry/", run.retry, name="run-retry"),
    path("runs/<int:pk>/targets/<int:target_pk>/", target.target, name="run-target"),
    path("runs/<int:pk>/events", stream.events, name="run-events"),
    path("runs/<int:pk>/log", log.lines, name="run-log"),
    path("runs/<int:pk>/log.txt", log.download, name="run-log-download"),
]
