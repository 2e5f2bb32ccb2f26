"""The routes of the server: requests to calls, results to JSON and pictures. Errors are sentences."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from jaxstyle.errors import InputError, quote
from jaxstyle.image.io import software
from jaxstyle.serve.events import Events
from jaxstyle.serve.gallery import Gallery
from jaxstyle.serve.options import MAX_PAINTINGS, options_json, parse, recipe_values
from jaxstyle.serve.pictures import MAX_BYTES, MAX_PIXELS, Picture, Pictures
from jaxstyle.serve.plan import plan_json
from jaxstyle.serve.previews import Previews
from jaxstyle.serve.recipe import MEDIA_TYPES, command_of, picture_file
from jaxstyle.serve.run import Run
from jaxstyle.serve.runs import Runs
from jaxstyle.serve.saved import SavedRuns
from jaxstyle.serve.security import Guard
from jaxstyle.serve.segment import Inputs, Segment
from jaxstyle.serve.sweeps import Sweeps, make_sweep

STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
# Bytes of a request other than a picture.
MAX_JSON_BYTES = 2**20
# A picture with its number in the address never changes.
UNCHANGING = {"Cache-Control": "private, max-age=3600"}


class Site(NamedTuple):
    """What the routes work with."""

    pictures: Pictures
    runs: Runs
    sweeps: Sweeps
    gallery: Gallery
    saved: SavedRuns
    previews: Previews
    events: Events
    network: str


def make_site(gallery: Path, saved: Path | None, network: str = "oxford") -> Site:
    """Return the state of a server.

    Args:
        gallery: folder of pictures.
        saved: folder of the runs that have not finished; None saves none.
        network: weights of VGG-19.
    """
    events, shown, kept = Events(), Gallery(gallery), SavedRuns(saved)
    runs = Runs(shown, kept, events.notify, network)
    return Site(Pictures(), runs, Sweeps(), shown, kept, Previews(), events, network)


def make_app(site: Site, token: str, port: int, remote: bool = False) -> Guard:
    """Return the application.

    Args:
        site: its state.
        token: secret of its address.
        port: of its address.
        remote: see `Guard`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        site.events.open()
        yield
        site.events.close()

    handlers: dict[Any, Any] = {InputError: _input_error, HTTPException: _http_error}
    return Guard(Starlette(routes=_routes(site), exception_handlers=handlers, lifespan=lifespan), token, port, remote)


def run_json(run: Run, history: bool = False) -> dict[str, Any]:
    """Describe a run for the page."""
    described = run.to_json(history) | {"command": command_of(run)}
    return described | {"command_exact": not run.changed}


def _routes(site: Site) -> list[Route]:
    pictures, runs, gallery, saved = site.pictures, site.runs, site.gallery, site.saved

    def get(path: str, answer: Callable[[Request], Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            return _response(await run_in_threadpool(answer, request))

        return Route(path, endpoint, methods=["GET"])

    def post(path: str, answer: Callable[[Request, dict[str, Any]], Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            body = await _body(request, MAX_JSON_BYTES)
            return _response(await run_in_threadpool(answer, request, _json(body)))

        return Route(path, endpoint, methods=["POST"])

    def delete(path: str, answer: Callable[[Request], Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            return _response(await run_in_threadpool(answer, request))

        return Route(path, endpoint, methods=["DELETE"])

    def run_of(request: Request) -> Run:
        return runs.get(request.path_params["id"])

    def options(_: Request) -> Any:
        bundled = {kind: picture.to_json() for kind, picture in pictures.bundled.items()}
        limits = {"bytes": MAX_BYTES, "pixels": MAX_PIXELS}
        return {**options_json(), "bundled": bundled, "limits": limits, "version": software()}

    async def upload(request: Request) -> Response:
        data = await _body(request, MAX_BYTES)
        picture = await run_in_threadpool(pictures.add, request.query_params.get("kind"), data)
        return _response(_picture_json(picture))

    def plan(_: Request, body: dict[str, Any]) -> Any:
        return plan_json(_inputs(pictures, body), parse(body.get("settings", {})))

    def start(_: Request, body: dict[str, Any]) -> Any:
        wanted, begin = parse(body.get("settings", {})), body.get("start")
        pixels = None
        if begin is not None:
            if not isinstance(begin, dict):
                raise InputError(f"start is {quote(begin)}, expected a run and one of its earlier pictures")
            pixels = runs.get(begin.get("run")).snapshot(begin.get("snapshot")).pixels
        run = Run(_inputs(pictures, body), Segment(wanted, pixels))
        runs.submit(run)
        return {"id": run.id}

    def control(action: Callable[[Run, dict[str, Any]], Any]) -> Callable[[Request, dict[str, Any]], Any]:
        def answer(request: Request, body: dict[str, Any]) -> Any:
            run = run_of(request)
            action(run, body)
            if run.state == "queued":
                runs.submit(run)
            return run_json(run)

        return answer

    def remove(request: Request) -> Any:
        runs.remove(request.path_params["id"])
        return {}

    def picture(request: Request) -> Any:
        jpeg = site.previews.of(run_of(request), full=request.query_params.get("full") == "1")
        return Response(jpeg, media_type="image/jpeg", headers=UNCHANGING)

    def photo(request: Request) -> Any:
        return Response(site.previews.photo(run_of(request)), media_type="image/jpeg", headers=UNCHANGING)

    def snapshot(request: Request) -> Any:
        found = run_of(request).snapshot(request.path_params["snapshot"])
        jpeg = site.previews.of_snapshot(found, thumb=request.query_params.get("thumb") == "1")
        return Response(jpeg, media_type="image/jpeg", headers=UNCHANGING)

    def download(request: Request) -> Any:
        extension = request.query_params.get("format", "png")
        data = picture_file(run_of(request), extension, site.network)
        headers = {"Content-Disposition": f'attachment; filename="jaxstyle.{extension}"'}
        return Response(data, media_type=MEDIA_TYPES[extension], headers=headers)

    def sweep(_: Request, body: dict[str, Any]) -> Any:
        made = make_sweep(_inputs(pictures, body), body.get("settings", {}), body.get("axes"), body.get("size", 128))
        site.sweeps.add(made)
        for cell in made.cells:
            runs.submit(cell[1])
        return {"id": made.id}

    def kept_picture(request: Request) -> Any:
        name = request.path_params["id"]
        headers = {"Content-Disposition": f'inline; filename="jaxstyle-{name}.png"'}
        return Response(gallery.read(name), media_type="image/png", headers=UNCHANGING | headers)

    def kept_recipe(request: Request) -> Any:
        return _recipe_json(gallery.recipe(request.path_params["id"]))

    def resume(request: Request, _: dict[str, Any]) -> Any:
        run = saved.resume(request.path_params["id"], pictures)
        runs.submit(run)
        return {"id": run.id}

    def forget(request: Request) -> Any:
        name = request.path_params["id"]
        if all(other["id"] != name for other in saved.interrupted()):
            raise InputError("there is no such interrupted run")
        saved.remove(name)
        return {}

    async def events(_: Request) -> Response:
        return StreamingResponse(site.events.stream(runs, run_json), media_type="text/event-stream")

    async def page(_: Request) -> Response:
        return _static("index.html")

    async def static(request: Request) -> Response:
        return _static(request.path_params["name"])

    def thumb(request: Request) -> Any:
        return Response(pictures.get(request.path_params["id"]).thumb, media_type="image/jpeg", headers=UNCHANGING)

    def kept_thumb(request: Request) -> Any:
        return Response(gallery.thumb(request.path_params["id"]), media_type="image/jpeg", headers=UNCHANGING)

    def saved_thumb(request: Request) -> Any:
        return Response(saved.thumb(request.path_params["id"]), media_type="image/jpeg")

    return [
        Route("/", page, methods=["GET"]),
        Route("/static/{name}", static, methods=["GET"]),
        get("/api/options", options),
        Route("/api/pictures", upload, methods=["POST"]),
        get("/api/pictures/{id}/thumb", thumb),
        post("/api/plan", plan),
        post("/api/runs", start),
        get("/api/runs", lambda _: [run_json(run) for run in runs.all()]),
        get("/api/runs/{id}", lambda request: run_json(run_of(request), history=True)),
        delete("/api/runs/{id}", remove),
        Route("/api/events", events, methods=["GET"]),
        get("/api/runs/{id}/picture", picture),
        get("/api/runs/{id}/photo", photo),
        get("/api/runs/{id}/snapshots/{snapshot}", snapshot),
        get("/api/runs/{id}/download", download),
        post("/api/runs/{id}/change", control(lambda run, body: run.change(body))),
        post("/api/runs/{id}/pause", control(lambda run, _: run.pause())),
        post("/api/runs/{id}/resume", control(lambda run, _: run.resume())),
        post("/api/runs/{id}/stop", control(lambda run, _: run.stop())),
        post(
            "/api/runs/{id}/further", control(lambda run, body: run.further(body.get("evaluations"), body.get("size")))
        ),
        post("/api/runs/{id}/back", control(lambda run, body: run.back(body.get("snapshot")))),
        post("/api/sweeps", sweep),
        get("/api/sweeps/{id}", lambda request: site.sweeps.get(request.path_params["id"]).to_json()),
        get("/api/gallery", lambda _: gallery.list()),
        get("/api/gallery/{id}/thumb", kept_thumb),
        get("/api/gallery/{id}/picture", kept_picture),
        get("/api/gallery/{id}/recipe", kept_recipe),
        get("/api/interrupted", lambda _: saved.interrupted()),
        get("/api/interrupted/{id}/thumb", saved_thumb),
        post("/api/interrupted/{id}/resume", resume),
        delete("/api/interrupted/{id}", forget),
    ]


def _response(value: Any) -> Response:
    return value if isinstance(value, Response) else JSONResponse(value)


async def _body(request: Request, limit: int) -> bytes:
    """The body of a request, refused before it is read if it says that it is too large, at the latest when it is."""
    declared = request.headers.get("content-length", "0")
    parts, size = [], int(declared) if declared.isdecimal() else 0
    if size <= limit:
        size = 0
        async for part in request.stream():
            size += len(part)
            parts.append(part)
            if size > limit:
                break
    if size > limit:
        raise HTTPException(413, f"the file has more than {limit} bytes, expected at most so many: make it smaller")
    return b"".join(parts)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"the request is {quote(value)}, expected names and values")
    return value


def _inputs(pictures: Pictures, body: dict[str, Any]) -> Inputs:
    paintings = body.get("paintings")
    if not isinstance(paintings, list) or not 1 <= len(paintings) <= MAX_PAINTINGS:
        raise InputError(f"paintings is {quote(paintings)}, expected 1 to {MAX_PAINTINGS} of them")
    mask = body.get("mask")
    return Inputs(
        pictures.get(body.get("photo")),
        tuple(map(pictures.get, paintings)),
        None if mask is None else pictures.get(mask),
    )


def _picture_json(picture: Picture) -> dict[str, Any]:
    return picture.to_json() | {"recipe": _recipe_json(picture.recipe)}


def _recipe_json(recipe: dict[str, Any] | None) -> dict[str, Any] | None:
    """Describe a recipe for the page, as far as the page has its options."""
    if recipe is None:
        return None
    shown = {name: recipe[name] for name in ("software", "command", "evaluations", "status") if name in recipe}
    return shown | {"settings": recipe_values(recipe)}


def _static(name: str) -> Response:
    """A file of the page. The name is only looked up, never made a path."""
    files = {path.name: path for path in STATIC.iterdir() if path.is_file()} if STATIC.is_dir() else {}
    path = files.get(name)
    if path is None or path.suffix not in STATIC_TYPES:
        raise HTTPException(404, "there is no such page")
    return FileResponse(path, media_type=STATIC_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})


async def _input_error(_: Request, error: Exception) -> Response:
    missing = str(error).startswith("there is no such ")
    return JSONResponse({"error": str(error)}, status_code=404 if missing else 400)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code)
