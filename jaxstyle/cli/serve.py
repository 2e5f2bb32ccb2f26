"""`jaxstyle serve`: a picture is painted in the browser while you watch, and turn the knobs."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from jaxstyle.cli.backend import check_backend
from jaxstyle.cli.logs import set_level
from jaxstyle.cli.validate import check_between
from jaxstyle.compiler import enable_compilation_cache
from jaxstyle.errors import InputError
from jaxstyle.files import cache_folder

PORT = 8733


@dataclass(frozen=True)
class Serve:
    """Open a page in the browser where a picture is painted while you watch, and turn the knobs.

    Prints the address of the page. Ctrl-C ends it: a run in progress is saved, and the next start offers to go on.
    """

    host: str = "127.0.0.1"
    """Name or address to listen on; others than this machine's own need --allow-remote."""
    port: int = PORT
    """Port to listen on, 0 to 65535; 0 is any free one."""
    gallery: Annotated[Path, arg(metavar="FOLDER")] = Path("jaxstyle-gallery")
    """Folder for the finished pictures, with their recipes."""
    weights: Annotated[str, arg(metavar="oxford|torchvision|FILE")] = "oxford"
    """Weights of VGG-19: oxford (included), torchvision (downloaded once), or a .safetensors file."""
    browser: bool = True
    """Open the address in the browser."""
    allow_remote: bool = False
    """Permit a --host that other machines reach. Whoever has the address can use this machine and see all pictures.
    Nothing is encrypted."""
    compile_cache: Annotated[str, arg(metavar="auto|off|FOLDER")] = "auto"
    """Folder of compiled programs, which later runs reuse; auto is a folder in the user's cache."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Also print details."""
    quiet: Annotated[bool, arg(aliases=("-q",))] = False
    """Print only warnings, errors and the address."""

    def run(self) -> int:
        """Serve until Ctrl-C, and return the exit code."""
        set_level(self.verbose, self.quiet)
        missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
        if missing:
            raise InputError(f"jaxstyle serve needs {' and '.join(missing)}: pip install 'jaxstyle[serve]'")
        # Only now, since what it needs is an extra.
        from jaxstyle.serve.server import serve

        check_between("--port", self.port, 0, 65535)
        enable_compilation_cache(self.compile_cache)
        check_backend()
        cache = cache_folder()
        return serve(
            self.host,
            self.port,
            self.gallery.absolute(),
            None if cache is None else cache / "serve",
            self.weights,
            self.allow_remote,
            self.browser,
        )
