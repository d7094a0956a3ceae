"The Drive is the folder that the variable STAND_IN_DRIVE names; without it, the person has refused."

import os
from pathlib import Path


def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    if " " in mountpoint or not os.path.isabs(mountpoint):
        raise ValueError("Mountpoint must be absolute and not contain a space")
    drive = os.environ.get("STAND_IN_DRIVE")
    if not drive:
        raise ValueError("mount failed")
    if Path(mountpoint).is_symlink():
        print(f"Drive already mounted at {mountpoint}")
        return
    if Path(mountpoint).exists():
        raise ValueError("Mountpoint must not already contain files")
    (Path(drive) / "MyDrive").mkdir(exist_ok=True)
    os.symlink(drive, mountpoint)
    print(f"Mounted at {mountpoint}")
