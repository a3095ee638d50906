"""Who the caller is."""

from __future__ import annotations

from fastapi import APIRouter

from api.caller import Viewer
from api.key_views import KeyView, MeView
from api.openapi import problems

router = APIRouter(prefix="/v1/me", tags=["keys"])


@router.get("", responses=problems())
def get_me(caller: Viewer) -> MeView:
    """The key that this request came with: its name, team and role."""
    return MeView(key=KeyView.of(caller.key), operator=caller.key.operator)
