"""Receive OTLP on this machine and show traces as they complete."""
