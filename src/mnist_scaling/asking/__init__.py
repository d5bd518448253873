"""Questions: which studies one needs, and how their tables become a sentence with intervals."""
