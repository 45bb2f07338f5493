"""`fdkd catalog`."""

from __future__ import annotations

from fdkd_client.cli.connection import connect
from fdkd_client.cli.terminal import Output, OutputOption, show, show_json


def catalog(output: OutputOption = Output.TABLE) -> None:
    """Show which networks, methods and modalities jobs may name."""
    with connect() as client:
        found = client.catalog()
    if output is Output.JSON:
        show_json(found)
        return
    from fdkd_client.cli.data_tables import catalog_view

    show(catalog_view(found))
