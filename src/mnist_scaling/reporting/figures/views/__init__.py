"""Figures that answer one question each, a file for each: its data, then its drawing."""
