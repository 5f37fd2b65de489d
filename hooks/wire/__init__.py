"""`copier-honeycomb wire`: edit an existing repository's files so that its requests are traced."""
