"""What there is: management servers, libraries, hosts, stored resources, credentials."""

from inventory.models.credential import Credential
from inventory.models.host import Host, HostGroup
from inventory.models.library import LibraryServer, LibraryShare
from inventory.models.mac_address import MacAddress
from inventory.models.management_server import ManagementServer
from inventory.models.stored_resource import StoredResource
from inventory.models.sync_record import SyncChange, SyncRecord

__all__ = [
    "Credential",
    "Host",
    "HostGroup",
    "LibraryServer",
    "LibraryShare",
    "MacAddress",
    "ManagementServer",
    "StoredResource",
    "SyncChange",
    "SyncRecord",
]
