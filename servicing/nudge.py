"""Sends a hint to a worker after the commit, by task name. Nothing depends on its arrival."""

import logging
from functools import partial

from celery import current_app
from django.db import transaction

log = logging.getLogger(__name__)
QUEUE = "servicing"


def nudge(queue: str) -> None:
    """Tell the workers of this queue that something is due."""
    transaction.on_commit(partial(_send, queue))


def _send(queue: str) -> None:
    try:
        current_app.send_task("servicing.advance_due", args=[queue], queue=queue, retry=False, ignore_result=True)
    except Exception as error:  # noqa: BLE001 - a broker that is down costs a second, the timer's
        log.warning("The broker takes no message (%s); the workers' timers will find the work.", type(error))
