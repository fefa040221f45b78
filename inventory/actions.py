"""What people do with the inventory. Each action asks the gate and raises ValidationError, with a form's field
names where a form shows them."""

import logging
import re
from functools import partial
from types import EllipsisType

from celery import current_app
from django.core.exceptions import ValidationError
from django.db import transaction

from inventory.models import Credential, Host, ManagementServer, StoredResource
from inventory.remote import host_key
from inventory.sync.recording import said_running
from ovmst_site import clock
from ovmst_site.access.gate import Actor, may, visible
from ovmst_site.text import clean

log = logging.getLogger(__name__)
TASK = "inventory.sync_server"

# A name or an address, IPv6 too: what is none of them can't be reached, and must not look like an option.
_ADDRESS = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._:%\[\]-]*\Z")
CHANNEL = ("channel_kind", "channel_address", "channel_port", "channel_host_key", "credential")


def request_sync(server: ManagementServer, by: Actor) -> None:
    """Have this server synced soon. The request is kept: it is found within a minute where its message gets
    lost. Raises ValidationError where `by` may not, the server is disabled, or a sync of it runs already."""
    if not may(by, server, "change"):
        raise ValidationError(f"There is no management server {server.name!r} that you may sync.")
    if not server.enabled:
        raise ValidationError(f"{server} is disabled.")
    if running := said_running(server):
        raise ValidationError(f"{running}.")
    with transaction.atomic():
        ManagementServer.objects.filter(pk=server.pk).update(
            sync_requested_at=clock.now(), sync_requested_by=clean(str(by), 200)
        )
        transaction.on_commit(partial(hint, server.pk))


def hint(server: int) -> None:
    """Tell a worker that this server is to be synced. Nothing depends on its arrival."""
    try:
        current_app.send_task(TASK, args=[server], retry=False, ignore_result=True)
    except Exception as error:  # noqa: BLE001 - a broker that is down costs a minute
        log.warning("The broker takes no message (%s); the next look finds the request.", type(error).__name__)


def change_channel(
    machine: StoredResource,
    by: Actor,
    *,
    kind: str,
    address: str,
    port: int,
    pinned: str,
    credential: Credential | EllipsisType | None = ...,
) -> StoredResource:
    """How its guest is reached: by which channel, where, showing which key, with which credential: None is none of
    its own, `...` the one that it has. What a run does with it now follows from its next step on."""
    if not may(by, machine, "change"):
        raise ValidationError("There is no such machine that you may change.")
    machine = StoredResource.objects.get(pk=machine.pk)
    machine.channel_kind, machine.channel_port = kind, port
    machine.channel_address, machine.channel_host_key = clean(address.strip()), " ".join(clean(pinned).split())
    fields = [name for name in CHANNEL if name != "credential" or credential is not ...]
    if credential is not ...:
        machine.credential = credential
    wrong: dict[str, str] = {}
    if machine.channel_address and not _ADDRESS.match(machine.channel_address):
        wrong["channel_address"] = "Write a host name or an IP address."
    if not 1 <= (port or 0) <= 65535:
        wrong["channel_port"] = "A port is a number from 1 to 65535."
    if machine.channel_host_key:
        try:
            host_key.read(machine.channel_host_key)
        except ValueError as reason:
            wrong["channel_host_key"] = f"This key can't be read {reason}."
    if isinstance(credential, Credential) and not _is_for(credential, machine, by):
        wrong["credential"] = f"Choose a credential of the team {machine.team}."
    if wrong:
        raise ValidationError(wrong)
    machine.full_clean(exclude={field.name for field in machine._meta.fields} - set(fields))
    machine.save(update_fields=fields)
    return machine


def set_maintenance(host: Host, by: Actor, *, in_maintenance: bool) -> None:
    """Whether this host takes new machines. What runs on it now goes on to its end."""
    if not may(by, host, "change"):
        raise ValidationError("There is no such host that you may change.")
    Host.objects.filter(pk=host.pk).update(in_maintenance=in_maintenance)


def _is_for(credential: Credential, machine: StoredResource, by: Actor) -> bool:
    return visible(by, Credential.objects.filter(pk=credential.pk, team=machine.team_id)).exists()
