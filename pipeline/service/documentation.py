"""The page that documents the service, and all that it needs, without another server.

It answers from memory: no path of a request is ever one of a file, and whoever is slow
to read holds neither a thread nor a file.
"""

from functools import cache
from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from pipeline.service.json_response import JsonResponse

PATH = "/docs"
# Where people look for it as well.
OTHERS = ("/", "/redoc")
DOCUMENT = "/openapi.json"
SCRIPT, STYLE, ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"


def add_documentation(app: FastAPI) -> None:
    """Add Swagger UI, from the files of fastapi-offline, to an application."""
    page = get_swagger_ui_html(
        openapi_url=DOCUMENT,
        title=f"{app.title} - Swagger UI",
        swagger_js_url=f"{PATH}/{SCRIPT}",
        swagger_css_url=f"{PATH}/{STYLE}",
        swagger_favicon_url=f"{PATH}/{ICON}",
    )

    @cache
    def make_document() -> bytes:
        return bytes(JSONResponse(app.openapi()).body)

    @app.get(DOCUMENT, include_in_schema=False)
    async def document() -> Response:
        return JsonResponse(make_document())

    @app.get(PATH, include_in_schema=False)
    async def documentation() -> HTMLResponse:
        return HTMLResponse(page.body)

    for other in OTHERS:

        @app.get(other, include_in_schema=False)
        async def lead_to_documentation() -> RedirectResponse:
            return RedirectResponse(PATH)

    add_asset(app, SCRIPT, "text/javascript")
    add_asset(app, STYLE, "text/css")
    add_asset(app, ICON, "image/png")


def add_asset(app: FastAPI, name: str, media_type: str) -> None:
    content = (files("fastapi_offline") / "static" / name).read_bytes()

    @app.get(f"{PATH}/{name}", include_in_schema=False)
    async def asset() -> Response:
        return Response(content, media_type=media_type)
