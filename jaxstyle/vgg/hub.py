"""Read selected tensors of a safetensors file on the Hugging Face Hub, by HTTP range requests for their bytes.

`huggingface_hub` downloads whole files only. Its public functions provide URLs, the token, proxies and offline mode, so
that HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT have their usual effect. The token is sent to the
Hub only (redirects to another host drop it) and never appears in a message.

Imported on the first download: the network libraries are slow to import.
"""

import json
import math
import os
import re
import time
from collections.abc import Iterable
from operator import index
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from huggingface_hub import constants, get_session, hf_hub_url

# The base class of all network errors: from httpx, or from httpx2 since huggingface_hub 2.
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # pyright: ignore[reportPrivateImportUsage]
from huggingface_hub.utils import build_hf_headers
from tqdm import tqdm

from jaxstyle.errors import InputError
from jaxstyle.vgg.tensors import HubFile, TensorInfo

MAX_ATTEMPTS = 4
# Seconds before the second attempt; doubled before each further one.
RETRY_SECONDS = 0.5

_MAX_HEADER_BYTES = 10_000_000
_DTYPES = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}
# Scheme, user, host or IPv6 address, port, path.
_ENDPOINT = re.compile(r"https?://([^\s/@]+@)?([\w.-]+|\[[\da-f:]+\])(:\d{1,5})?(/[\w./~-]*)?", re.ASCII)
# HTTP statuses of temporary failures.
_TEMPORARY_STATUSES = (408, 429, 500, 502, 503, 504)


def read_header(file: HubFile) -> dict[str, TensorInfo]:
    """Read the header of a safetensors file on the Hub.

    Args:
        file: must exist at its revision.

    Returns:
        Type, shape and byte range of every tensor, by name.

    Raises:
        InputError: if the Hub is unreachable, denies access, or sends anything but a safetensors file.
    """
    length = int.from_bytes(_read_range(file, 0, 8)[0], "little")
    if not 2 <= length <= _MAX_HEADER_BYTES:
        raise _hub_error(file, f"it starts with a header of {length} bytes, so it is not a safetensors file")
    text, size = _read_range(file, 8, 8 + length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        infos = {name: _parse_info(entry, 8 + length) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _hub_error(file, "its header is damaged") from None
    expected = max((info.end for info in infos.values()), default=8 + length)
    if size != expected:
        raise _hub_error(file, f"it has {size} bytes, expected {expected} from its header")
    return infos


def read_tensors(file: HubFile, infos: dict[str, TensorInfo], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read tensors of a safetensors file on the Hub, with a progress bar if standard error is a terminal.

    Args:
        file: see `read_header`.
        infos: header of the file, from `read_header`.
        names: the float32 or uint8 tensors to read; no other bytes are transferred.

    Returns:
        The arrays, by name.

    Raises:
        InputError: if the Hub is unreachable, denies access, or the file has changed since its header was read.
    """
    ordered = sorted(names, key=lambda name: infos[name].start)
    size = max(info.end for info in infos.values())
    arrays = {}
    with tqdm(
        total=sum(infos[name].end - infos[name].start for name in ordered),
        desc=file.repo,
        unit="B",
        unit_scale=True,
        disable=None,
    ) as progress:
        for group in _group_adjacent(ordered, infos):
            start = infos[group[0]].start
            data, current_size = _read_range(file, start, infos[group[-1]].end, progress)
            if current_size != size:
                raise _hub_error(file, f"its size changed from {size} to {current_size} bytes while it was read")
            for name in group:
                info = infos[name]
                part = memoryview(data)[info.start - start : info.end - start]
                arrays[name] = np.frombuffer(part, _DTYPES[info.dtype]).reshape(info.shape)
    return arrays


def _parse_info(entry: dict[str, Any], body: int) -> TensorInfo:
    """Parse one header entry, with the tensors' bytes from offset `body`; raise a ValueError, ... if it is damaged."""
    start, end = map(index, entry["data_offsets"])
    info = TensorInfo(str(entry["dtype"]), tuple(map(index, entry["shape"])), body + start, body + end)
    if not 0 <= start <= end or any(size < 0 for size in info.shape):
        raise ValueError("negative size or offset")
    if info.dtype in _DTYPES and end - start != math.prod(info.shape) * _DTYPES[info.dtype].itemsize:
        raise ValueError("shape does not match the number of bytes")
    return info


def _group_adjacent(names: list[str], infos: dict[str, TensorInfo]) -> list[list[str]]:
    """Split names in order of offset into groups whose bytes have no gaps: one request per group."""
    groups: list[list[str]] = []
    for name in names:
        if groups and infos[groups[-1][-1]].end == infos[name].start:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _read_range(file: HubFile, start: int, end: int, progress: tqdm | None = None) -> tuple[bytearray, int]:
    """Read the bytes from `start` to `end`, resuming broken transfers; also return the size of the whole file."""
    data, size = bytearray(), 0
    problem = ""
    for attempt in range(MAX_ATTEMPTS):
        if attempt:
            time.sleep(RETRY_SECONDS * 2 ** (attempt - 1))
        try:
            with _session(file).stream(
                "GET",
                _file_url(file),
                headers=build_hf_headers(library_name="jaxstyle")
                # Without compression, so that byte counts are those of the file.
                | {"Range": f"bytes={start + len(data)}-{end - 1}", "Accept-Encoding": "identity"},
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                follow_redirects=True,
            ) as response:
                if response.status_code in _TEMPORARY_STATUSES:
                    problem = f"the server answered HTTP {response.status_code}"
                    continue
                size = _check_response(file, response, start + len(data), end)
                for chunk in response.iter_bytes():
                    data += chunk
                    if progress is not None:
                        progress.update(len(chunk))
        except OfflineModeIsEnabled:
            raise _hub_error(file, "HF_HUB_OFFLINE is set", "unset it") from None
        except UnicodeEncodeError:
            raise _hub_error(
                file, "HF_TOKEN has characters that are not allowed in a token", "correct or unset it"
            ) from None
        except HTTPError as error:
            # Only the type: the text of a network error may quote request headers.
            problem = f"the connection failed ({type(error).__name__})"
            continue
        if len(data) == end - start:
            return data, size
        if len(data) > end - start:
            raise _hub_error(file, "the server sent more bytes than requested")
        problem = "the connection was closed early"
    raise _hub_error(file, f"{problem}, {MAX_ATTEMPTS} times")


def _session(file: HubFile) -> Any:
    """Session of huggingface_hub: a client of httpx, or of httpx2 since huggingface_hub 2."""
    try:
        return get_session()
    except ValueError:  # Without its text, which may quote a proxy's password.
        raise _hub_error(file, "the proxy in the environment is not a valid URL", "correct HTTPS_PROXY") from None


def _check_response(file: HubFile, response: Any, start: int, end: int) -> int:
    """Raise `InputError` unless the response has the requested bytes of the file; return the size of the whole file."""
    status = response.status_code
    if status in (401, 403):
        raise _hub_error(file, f"access was refused (HTTP {status})", "correct or unset HF_TOKEN")
    if status == 404:
        raise _hub_error(file, "there is no such file (HTTP 404)", "check HF_ENDPOINT")
    if status == 200:
        raise _hub_error(file, "the server does not send parts of files", "check HF_ENDPOINT and proxies")
    if status == 416:
        raise _hub_error(file, f"it has fewer bytes than expected, none after {start} instead of at least {end}")
    # The Hub names the commit in its response, which may redirect to another host for the bytes.
    for hop in (*response.history, response):
        commit = hop.headers.get("X-Repo-Commit", file.revision)
        if commit != file.revision:
            raise _hub_error(file, f"the server sent revision {commit}, expected {file.revision}")
    unit, _, range_and_size = response.headers.get("Content-Range", "").partition(" ")
    byte_range, _, size = range_and_size.partition("/")
    if status != 206 or unit != "bytes" or not size.isdecimal():
        raise _hub_error(file, f"the server sent an invalid response (HTTP {status})")
    if int(size) < end:
        raise _hub_error(file, f"it has fewer bytes than expected, {size} instead of at least {end}")
    if byte_range != f"{start}-{end - 1}":
        raise _hub_error(file, f"the server sent bytes {byte_range}, expected {start}-{end - 1}")
    return int(size)


def _file_url(file: HubFile) -> str:
    """URL of the file. Reads HF_ENDPOINT at every call; huggingface_hub reads it once, at import."""
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    if not _is_valid_endpoint(endpoint):
        raise InputError(
            "the environment variable HF_ENDPOINT is not the URL of a server; expected one like "
            "https://huggingface.co, or use the embedded weights 'oxford', which need no network"
        )
    return hf_hub_url(file.repo, file.filename, revision=file.revision, endpoint=endpoint)


def _is_valid_endpoint(endpoint: str) -> bool:
    """True for the URL of a server, checked here because the network library's own errors are unclear."""
    try:
        return _ENDPOINT.fullmatch(endpoint) is not None and urlsplit(endpoint).port != 0
    except ValueError:  # invalid IPv6 address or port
        return False


def _hub_error(file: HubFile, problem: str, advice: str = "try again later") -> InputError:
    return InputError(
        f"could not read {file.filename} of {file.repo} from the Hugging Face Hub: {problem}; {advice}, "
        "or use the embedded weights 'oxford', which need no network"
    )
