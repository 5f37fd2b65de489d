"""Errors of the installation of an image's packages."""

from collections.abc import Sequence


class NotInstalled(Exception):
    """The packages could not be installed here. The text is the reason, without a full stop."""


class NotInstallable(NotInstalled):
    """The packages cannot be installed with the Python of this machine."""


class ImageNotBuilt(NotInstallable):
    """The packages cannot be installed in the image either."""


class LockOutdated(ImageNotBuilt):
    """A lock file lacks packages."""

    def __init__(self, name: str, missing: Sequence[str], command: str) -> None:
        super().__init__(f"{name} lacks {', '.join(missing)}. Update it with `{command}`")
        self.missing = missing
