"""Tests of the template, of rendered projects and of the tools."""
