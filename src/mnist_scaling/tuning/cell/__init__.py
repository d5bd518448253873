"""One cell: what it tries next, and how far it is tuned."""
