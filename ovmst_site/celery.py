"""The Celery application. Workers add a timer of their own (servicing.timer): messages are hints only."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ovmst_site.settings")

app = Celery("ovmst")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
