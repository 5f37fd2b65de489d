"""The error of the update."""


class UpdateRefused(Exception):
    """The update cannot be made, and nothing was changed. The text is for the user."""
