"""Honeycomb as code: boards, triggers and SLOs are defined by the files in a project's `honeycomb/`."""
