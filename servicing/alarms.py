"""Says loudly, and keeps saying, that a machine needs attention."""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Q
from django.template.loader import render_to_string

from ovmst_site.access.models import Person
from servicing.models import RunTarget

log = logging.getLogger(__name__)
REPEAT_AFTER = timedelta(days=1)
TRY_AGAIN_AFTER = timedelta(minutes=5)


def send_due(now: datetime) -> int:
    """Send the alarm of each target that needs attention and hasn't been named for a day; returns how many.

    One that could not be sent, or whose sender died, is due again after some minutes: rather twice than never.
    """
    overdue = Q(alarm_sent_at=None) | Q(alarm_sent_at__lte=now - REPEAT_AFTER)
    targets = RunTarget.objects.filter(overdue, state=RunTarget.State.ATTENTION)
    sent = 0
    for target in targets.select_related("resource", "run__job__team", "host"):
        # Only the winner of this update sends, however many workers look at once.
        mine = RunTarget.objects.filter(pk=target.pk, alarm_sent_at=target.alarm_sent_at)
        if mine.update(alarm_sent_at=now - REPEAT_AFTER + TRY_AGAIN_AFTER) and _send(target):
            RunTarget.objects.filter(pk=target.pk, state=RunTarget.State.ATTENTION).update(alarm_sent_at=now)
            sent += 1
    return sent


def _send(target: RunTarget) -> bool:
    # A header may not hold a line break, and a machine's name may hold anything.
    name = " ".join(target.resource.name.split())[:120]
    text = render_to_string("servicing/needs_attention_email.txt", {"target": target})
    reached = 0
    for address in _recipients(target):  # one by one: an address that nothing can be sent to stops no other
        try:
            send_mail(f"[OVMST] Needs attention: {name}", text, settings.DEFAULT_FROM_EMAIL, [address])
        except Exception as error:
            log.exception("The alarm of target %s could not be sent to %r: %s", target.pk, address, error)
        else:
            reached += 1
    return reached > 0


def _recipients(target: RunTarget) -> list[str]:
    members = Person.objects.filter(memberships__team=target.run.job.team, is_active=True).exclude(email="")
    addresses = [*settings.ALARM_RECIPIENTS, *members.values_list("email", flat=True)]
    # Without any address the alarm still goes where the mail backend puts it: a file, in the embedded way.
    return list(dict.fromkeys(addresses)) or [settings.DEFAULT_FROM_EMAIL]
