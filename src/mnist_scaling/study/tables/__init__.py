"""The tables of a study: trials.csv, cells.csv, curves.csv, and what is read from them."""
