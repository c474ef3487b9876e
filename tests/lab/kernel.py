"""The guest's kernel: a stock Debian one with its modules, unpacked into a folder that git ignores, never installed.

    python -m tests.lab.kernel   # `make lab-kernel`: fetches it unless it is there, 107 MB
    found = kernel()             # None where it is not there

`dpkg` never sees the package, so no hook of it runs, and the host's /boot and /lib/modules stay as they are.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CACHE: Final = Path(os.environ.get("AUTOVPN_LAB_CACHE") or Path(__file__).parents[2] / ".cache" / "lab")

# Kernels from 6.12 on have virtiofs built in and need no initramfs. The cloud flavours have no Wi-Fi.
PACKAGE: Final = re.compile(r"linux-image-(6\.(?:1[2-9]|[2-9]\d)\.\d+\+deb\d+-amd64) ")

# The rest (sound, graphics, disks, ...) is nothing to a guest that has none of it.
MODULES: Final = ("arch", "crypto", "drivers/net", "fs/overlayfs", "lib", "net")

XZ: Final = b"\xfd7zXZ\0"
ELF: Final = b"\x7fELF"


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted."""

    version: str  # as `uname -r` says it
    image: Path
    root: Path  # the folder for `modprobe -d`: it holds lib/modules/VERSION


def kernel() -> Kernel | None:
    """Return the newest kernel in the cache."""
    versions = sorted((name.parent for name in CACHE.glob("*/complete")), key=lambda folder: numbers(folder.name))
    return Kernel(versions[-1].name, versions[-1] / "vmlinux", versions[-1]) if versions else None


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as what it is compared by."""
    return tuple(map(int, re.findall(r"\d+", version)))


def fetch() -> Kernel:
    """Download the newest kernel that apt knows of into the cache, and unpack what the guest needs of it.

    Raises:
        LookupError: apt has none.
        subprocess.CalledProcessError: one of the programs failed, and has said why.
        OSError: one of them is missing, or the disk is full.
    """
    listing = subprocess.run(
        ("apt-cache", "search", "--names-only", "^linux-image-6"), check=True, capture_output=True, text=True
    ).stdout
    versions = sorted(PACKAGE.findall(listing), key=numbers)
    if not versions:
        raise LookupError("apt knows of no linux-image-6.12 or later (in Debian 12 it is in bookworm-security)")
    version = versions[-1]
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        folder = Path(scratch) / version
        folder.mkdir()
        # apt would do it as a user of its own, who can't write here, and say so.
        download = ("apt-get", "--quiet=2", "--option=APT::Sandbox::User=root", "download", f"linux-image-{version}")
        subprocess.run(download, cwd=scratch, check=True)
        unpack(next(Path(scratch).glob("*.deb")), folder, version)
        (folder / "complete").touch()
        shutil.rmtree(CACHE / version, ignore_errors=True)
        folder.rename(CACHE / version)
    return Kernel(version, CACHE / version / "vmlinux", CACHE / version)


def unpack(package: Path, folder: Path, version: str) -> None:
    """Unpack the kernel and the modules for the network, both uncompressed, since the guest is slow at that."""
    wanted = [f"*/modules/{version}/kernel/{part}/*" for part in MODULES]
    wanted += [f"*/modules/{version}/modules.*", f"*/boot/vmlinuz-{version}"]
    archive = subprocess.Popen(("dpkg-deb", "--fsys-tarfile", package), stdout=subprocess.PIPE)
    subprocess.run(("tar", "-x", "-C", folder, "--wildcards", *wanted), stdin=archive.stdout, check=True)
    archive.wait()
    if (folder / "usr" / "lib").exists():  # Debian 13 has it there
        (folder / "usr" / "lib").rename(folder / "lib")
    modules = "\0".join(str(path) for path in folder.rglob("*.ko.xz"))
    decompress = ("xargs", "-0", f"-P{os.cpu_count()}", "-n50", "xz", "-d")
    subprocess.run(decompress, input=modules, text=True, check=True)
    subprocess.run(("depmod", "-b", folder, version), check=True)
    compressed = folder / "boot" / f"vmlinuz-{version}"
    (folder / "vmlinux").write_bytes(uncompressed(compressed.read_bytes()))
    compressed.unlink()


def uncompressed(image: bytes) -> bytes:
    """Return the kernel inside of a bzImage, which boots 2 s faster; of one that isn't packed with xz, the bzImage."""
    for place in re.finditer(re.escape(XZ), image):
        try:
            kernel = lzma.LZMADecompressor().decompress(image[place.start() :])
        except lzma.LZMAError:
            continue
        if kernel.startswith(ELF):
            return kernel
    return image


def main() -> None:
    """Have a kernel in the cache. Without one the lab is skipped and says so, which is no failure of this."""
    if kernel() is None:
        try:
            fetch()
        except (LookupError, OSError, subprocess.SubprocessError) as error:
            print(f"no kernel for the lab: {error}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
