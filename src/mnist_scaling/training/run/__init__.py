"""One run on its way: its counts, scores, reports and files."""
