"""Errors of the installation of an image's packages."""


class NotInstalled(Exception):
    """The packages could not be installed here. The text is the reason, without a full stop."""


class NotInstallable(NotInstalled):
    """The packages cannot be installed with the Python of this machine."""


class ImageNotBuilt(NotInstallable):
    """The packages cannot be installed in the image either."""
