"""Files that must survive a power cut, files that may be trusted, and names that are watched."""

from autovpn.system.files.disk import PLAIN, Disk, Dress, temporary, write_durably
from autovpn.system.files.facts import is_immutable, is_mount_point, read_small
from autovpn.system.files.threads import to_its_end
from autovpn.system.files.trust import open_trusted
from autovpn.system.files.watch import NameWatch

__all__ = [
    "PLAIN",
    "Disk",
    "Dress",
    "NameWatch",
    "is_immutable",
    "is_mount_point",
    "open_trusted",
    "read_small",
    "temporary",
    "to_its_end",
    "write_durably",
]
