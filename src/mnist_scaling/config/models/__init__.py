"""What a model of each family is configured by, one file each, without torch."""
