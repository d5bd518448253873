"""The compute-efficient frontier, by four methods."""
