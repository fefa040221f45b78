"""The Celery application. Workers add a timer of their own (servicing.timer): messages are hints only."""

import os

from celery import Celery
from celery.signals import import_modules

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ovmst_site.settings")

app = Celery("ovmst")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@import_modules.connect(sender=app, weak=False)
def _add_the_timer(**_: object) -> None:
    """Workers look for due work by themselves; the step is named here, known to servicing alone."""
    app.steps["worker"].add("servicing.timer:LookForDueWork")
