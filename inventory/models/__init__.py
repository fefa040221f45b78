"""What there is: management servers, libraries, hosts, stored resources, credentials."""

from inventory.models.credential import Credential
from inventory.models.host import Host, HostGroup
from inventory.models.library import LibraryServer, LibraryShare
from inventory.models.management_server import ManagementServer
from inventory.models.stored_resource import StoredResource

__all__ = [
    "Credential",
    "Host",
    "HostGroup",
    "LibraryServer",
    "LibraryShare",
    "ManagementServer",
    "StoredResource",
]
