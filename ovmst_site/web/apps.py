from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "ovmst_site.web"
    label = "web"
