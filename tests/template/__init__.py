"""The template: questions, renderings, updates, releases."""
