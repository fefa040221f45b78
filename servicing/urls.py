"""The pages of servicing."""

from django.urls import path

from servicing.views import home, log, stream

app_name = "servicing"
urlpatterns = [
    path("", home.home, name="home"),
    path("runs/<int:pk>/events", stream.events, name="run-events"),
    path("runs/<int:pk>/log", log.lines, name="run-log"),
    path("runs/<int:pk>/log.txt", log.download, name="run-log-download"),
]
