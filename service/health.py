"""Whether the process runs, and whether it can do its work."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Says that the process answers; asks nothing else."""
    return {"status": "ok"}
