"""`copier-honeycomb demo`: render a service, send it a prompt and draw the trace in the terminal."""
