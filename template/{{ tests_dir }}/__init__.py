"""Tests of the telemetry itself."""
