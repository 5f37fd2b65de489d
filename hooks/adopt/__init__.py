"""`copier-honeycomb adopt`: add the module to an existing repository, and trace its application."""
