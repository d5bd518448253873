"""Laws of the tuned settings, and what tuning changed."""
