"""Tests of `scale`: its files, and real services behind a real Collector and a real Refinery."""
