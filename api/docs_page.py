"""The page /docs: Swagger UI over the OpenAPI document.

Its script comes from here and the page may load nothing from elsewhere: who tries the API out types
a key into it, and a GPU machine may have no way out.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

PAGE = "/docs"
ASSETS = f"{PAGE}/assets"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


def install(app: FastAPI) -> None:
    """Add the page and its files; addresses are relative, so that a proxy may add a prefix."""
    assets = ASSETS.removeprefix("/")
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url=f"{assets}/swagger-ui-bundle.js",
        swagger_css_url=f"{assets}/swagger-ui.css",
        swagger_favicon_url=f"{assets}/favicon-32x32.png",
        swagger_ui_parameters={"displayRequestDuration": True, "filter": True},
    )
    page.headers["Content-Security-Policy"] = _POLICY

    async def docs(_: Request) -> HTMLResponse:
        return page

    app.add_route(PAGE, docs, include_in_schema=False)
    app.mount(ASSETS, StaticFiles(packages=[("fastapi_swagger", "resources")]))
