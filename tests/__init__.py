"""Renders the template, and runs what was rendered."""
