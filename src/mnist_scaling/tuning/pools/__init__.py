"""Where jobs run. A new place is one file here that keeps the protocol of `base.Pool`."""
