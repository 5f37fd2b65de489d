"""Fakes of the services that a rendered project talks to, each on 127.0.0.1."""
