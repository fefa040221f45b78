from django.apps import AppConfig


class LabConfig(AppConfig):
    name = "inventory.lab"
    label = "lab"
    verbose_name = "Built-in lab"
