"""Tests of the module, run by ../test_suite.py in each environment and against a rendering."""
