"""JPEGs of pictures, made when a page asks for them, once for all pages."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from jaxstyle.errors import InputError
from jaxstyle.image.preview import levels, preview
from jaxstyle.serve.run import Run, photo_at
from jaxstyle.serve.segment import Snapshot

MAX_SIDE = 1024
# Of the small copies of earlier pictures.
THUMB_SIDE = 320
# Encoded pictures that are kept.
KEPT = 32


class Previews:
    """The latest encoded pictures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._encoded: OrderedDict[Hashable, bytes] = OrderedDict()

    def of(self, run: Run, full: bool) -> bytes:
        """Return the present picture of a run.

        Args:
            run: a run.
            full: If True, with all pixels, otherwise with at most 1024 on the long side.

        Raises:
            InputError: before there is one.
        """
        present = run.picture()
        if present is None:
            raise InputError("there is no such picture yet: the run waits")
        version, image = present
        return self._once((run.id, version, full), lambda: preview(levels(image), None if full else MAX_SIDE))

    def photo(self, run: Run) -> bytes:
        """Return the photo of a run, at its size."""
        return self._once((run.id, "photo", run.size), lambda: preview(levels(photo_at(run))))

    def of_snapshot(self, snapshot: Snapshot, thumb: bool) -> bytes:
        """Return an earlier picture, or a small copy of it."""
        side = THUMB_SIDE if thumb else None
        return self._once((snapshot.id, thumb), lambda: preview(snapshot.pixels, side))

    def _once(self, key: Hashable, encode: Callable[[], bytes]) -> bytes:
        with self._lock:
            jpeg = self._encoded.get(key)
        if jpeg is None:
            jpeg = encode()
            with self._lock:
                self._encoded[key] = jpeg
                while len(self._encoded) > KEPT:
                    self._encoded.popitem(last=False)
        return jpeg
