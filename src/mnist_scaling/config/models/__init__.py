"""What a model of each family with keys of its own is configured by, one file each, without torch."""
