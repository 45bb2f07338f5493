"""`fdkd usage`."""

from __future__ import annotations

from fdkd_client.cli.connection import connect
from fdkd_client.cli.terminal import Output, OutputOption, show, show_json


def usage(output: OutputOption = Output.TABLE) -> None:
    """Show how much is stored, and how much may be."""
    with connect() as client:
        found = client.usage()
    if output is Output.JSON:
        show_json(found)
        return
    from fdkd_client.cli.data_tables import usage_view

    show(usage_view(found))
