"""Opens a store by its URL."""

from __future__ import annotations

from contactsync.server.objects.address import StoreUrl
from contactsync.server.objects.cloud import CloudObjects
from contactsync.server.objects.folder import FolderObjects
from contactsync.server.objects.patient import PatientObjects
from contactsync.server.objects.ports import Objects


def open_objects(url: str) -> Objects:
    """The objects of a store, by patient calls. Raises BadInput. Nothing is asked of the store yet."""
    where = StoreUrl.parse(url)
    return PatientObjects(FolderObjects(where.folder) if where.scheme == "file" else CloudObjects(where))
