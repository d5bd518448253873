"""The files that `fit` and `compare` write, as dataclasses that are written and read; and the study they belong to."""
