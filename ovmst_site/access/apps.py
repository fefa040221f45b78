from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "ovmst_site.access"
    label = "access"
    verbose_name = "People and teams"
