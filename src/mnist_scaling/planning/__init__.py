"""What to run next, what it should give, and whether it did: read from finished studies, nothing is trained here."""
