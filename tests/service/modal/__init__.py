"""The service on Modal: deployed by the real client, served by the real container runtime."""
