"""From what the library found to what the files hold."""
