"""Integrations with libraries, one per module. Each is used only if its library is installed."""
