"""Tests of a rendered service as a process: its traces, its shutdown, and export failures."""
