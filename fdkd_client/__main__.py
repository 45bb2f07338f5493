"""`python -m fdkd_client` is `fdkd`."""

from __future__ import annotations

from fdkd_client.cli import main

if __name__ == "__main__":
    main()
