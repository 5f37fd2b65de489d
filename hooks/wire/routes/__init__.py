"""Routes to production: how the application is packaged and started, read from the repository."""
