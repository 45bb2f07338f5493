"""The API as one ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI

from service import catalog, health, openapi, problem_responses, usage
from service.artifacts import routes as artifacts
from service.auth import KeyRing
from service.context import open_context
from service.datasets import routes as datasets
from service.edge import Edge
from service.jobs import routes as jobs
from service.jobs.sweep import Sweeper
from service.models import routes as models
from service.pagination import refuse_undeclared
from service.settings import Settings
from service.uploads import routes as uploads


def create_app(settings: Settings) -> FastAPI:
    """Makes the app; database and storage are opened when it starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context = open_context(settings)
        app.state.context = context
        app.state.keys = KeyRing(context.database)
        app.state.readings = health.Readings(context)
        sweeper = Sweeper(context)
        sweeper.start()
        try:
            yield
        finally:
            sweeper.stop()
            context.close()

    app = FastAPI(
        title="FDKD",
        version=version("fdkd"),
        lifespan=lifespan,
        # A redirect may drop the Authorization header, and the framework's own pages would need no key.
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.add_middleware(Edge, allowed_hosts=settings.allowed_hosts)
    problem_responses.install(app)
    # A route is looked for in this order, and jobs are asked after most.
    for module in (jobs, artifacts, datasets, models, uploads, catalog, usage, openapi, health):
        app.include_router(module.router, dependencies=[Depends(refuse_undeclared)])
    openapi.install(app)
    return app
