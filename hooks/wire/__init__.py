"""`wire`: the edits that an existing repository's own files need, shown first and then made."""
