"""The ground floor: settings, clock, faults, access and web. Knows the other apps only as strings."""

from ovmst_site.celery import app as celery_app

__all__ = ["celery_app"]
