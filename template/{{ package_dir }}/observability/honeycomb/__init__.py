"""Honeycomb as code: its boards, triggers and SLOs are what the files of `honeycomb/` say."""
