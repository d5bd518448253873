"""Images and labels: fetched, split, changed."""
