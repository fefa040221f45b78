from django.apps import AppConfig


class ServicingConfig(AppConfig):
    name = "servicing"

    def ready(self) -> None:
        from inventory.sync.away import ask
        from servicing.models import RunTarget

        ask(RunTarget.away)
