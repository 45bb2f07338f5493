"""`fdkd serve`: API and workers as child processes of one supervisor, on this machine."""
