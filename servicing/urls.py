"""The pages of servicing."""

from django.urls import path

from servicing.views import home

app_name = "servicing"
urlpatterns = [
    path("", home.home, name="home"),
]
