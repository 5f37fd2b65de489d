"""Python that runs around a render."""
