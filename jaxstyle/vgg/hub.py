"""A few tensors of one safetensors file on the Hugging Face Hub, by ranged reads of just their bytes.

`huggingface_hub` downloads whole files only. Its public parts are used for what they know better: addresses, the
token, proxies, offline mode. So HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT work as everywhere.
The token goes to the Hub alone (redirects to another host drop it) and is never part of a message.
"""

import json
import math
import os
import re
import time
from collections.abc import Iterable
from operator import index
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from huggingface_hub import constants, get_session, hf_hub_url

# HTTPError is that of httpx, or of httpx2 from huggingface_hub 2 on: the base of every network error.
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # pyright: ignore[reportPrivateImportUsage]
from huggingface_hub.utils import build_hf_headers
from tqdm import tqdm

from jaxstyle.errors import InputError
from jaxstyle.vgg.tensors import TensorInfo

ATTEMPTS = 4
# Seconds before the second attempt; doubled before each further one.
PAUSE = 0.5

_HEADER_LIMIT = 10_000_000
_DTYPES = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}
# Scheme, user, host or IPv6 address, port, path.
_ENDPOINT = re.compile(r"https?://([^\s/@]+@)?([\w.-]+|\[[\da-f:]+\])(:\d{1,5})?(/[\w./~-]*)?", re.ASCII)
# The server may recover from these by itself.
_PASSING = (408, 429, 500, 502, 503, 504)


class HubFile(NamedTuple):
    """One file in a repository on the Hub, at a fixed commit."""

    repo: str
    filename: str
    revision: str
    """The full commit hash: a branch could change under us."""


def read_header(file: HubFile) -> dict[str, TensorInfo]:
    """What the header of a safetensors file on the Hub says, without reading any tensor.

    Args:
        file: The file; it must exist at its revision.

    Returns:
        Every tensor's type, shape and place in the file, by name.

    Raises:
        InputError: The Hub cannot be reached, refuses, or sends something else.
    """
    length = int.from_bytes(_read_range(file, 0, 8)[0], "little")
    if not 2 <= length <= _HEADER_LIMIT:
        raise _failure(file, f"it starts with a header of {length} bytes, so it is not a safetensors file")
    text, size = _read_range(file, 8, 8 + length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        infos = {name: _parse_info(entry, 8 + length) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _failure(file, "its header is damaged") from None
    expected = max((info.end for info in infos.values()), default=8 + length)
    if size != expected:
        raise _failure(file, f"it has {size} bytes, expected {expected} from its header")
    return infos


def read_tensors(file: HubFile, infos: dict[str, TensorInfo], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Some tensors of a safetensors file on the Hub, with a progress bar on a terminal.

    Args:
        file: The file.
        infos: Its header, from `read_header`.
        names: The tensors to read; float32 or uint8.

    Returns:
        The arrays, by name; nothing else of the file is transferred.

    Raises:
        InputError: The Hub cannot be reached, refuses, or the file has changed since its header was read.
    """
    wanted = sorted(names, key=lambda name: infos[name].start)
    size = max(info.end for info in infos.values())
    arrays = {}
    with tqdm(
        total=sum(infos[name].end - infos[name].start for name in wanted),
        desc=file.repo,
        unit="B",
        unit_scale=True,
        disable=None,
    ) as progress:
        for run in _adjacent(wanted, infos):
            start = infos[run[0]].start
            data, size_now = _read_range(file, start, infos[run[-1]].end, progress)
            if size_now != size:
                raise _failure(file, f"its size changed from {size} to {size_now} bytes while it was read")
            for name in run:
                info = infos[name]
                part = memoryview(data)[info.start - start : info.end - start]
                arrays[name] = np.frombuffer(part, _DTYPES[info.dtype]).reshape(info.shape)
    return arrays


def _parse_info(entry: dict[str, Any], body: int) -> TensorInfo:
    """One header entry; `body` is where the tensors' bytes start. Raises ValueError and the like if it is damaged."""
    start, end = map(index, entry["data_offsets"])
    info = TensorInfo(str(entry["dtype"]), tuple(map(index, entry["shape"])), body + start, body + end)
    if not 0 <= start <= end or any(size < 0 for size in info.shape):
        raise ValueError("a size or place below zero")
    if info.dtype in _DTYPES and end - start != math.prod(info.shape) * _DTYPES[info.dtype].itemsize:
        raise ValueError("a shape that does not fit the bytes")
    return info


def _adjacent(names: list[str], infos: dict[str, TensorInfo]) -> list[list[str]]:
    """Names in the order of their places, in runs that follow each other without a gap: one request each."""
    runs: list[list[str]] = []
    for name in names:
        if runs and infos[runs[-1][-1]].end == infos[name].start:
            runs[-1].append(name)
        else:
            runs.append([name])
    return runs


def _read_range(file: HubFile, start: int, end: int, progress: tqdm | None = None) -> tuple[bytearray, int]:
    """The bytes from `start` to `end`, and the size of the whole file; a broken transfer goes on where it stopped."""
    data, size = bytearray(), 0
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            with _session(file).stream(
                "GET",
                _address(file),
                headers=build_hf_headers(library_name="jaxstyle")
                # Compressed, the byte counts would not be those of the file.
                | {"Range": f"bytes={start + len(data)}-{end - 1}", "Accept-Encoding": "identity"},
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                follow_redirects=True,
            ) as response:
                if response.status_code in _PASSING:
                    problem = f"the server answered HTTP {response.status_code}"
                    continue
                size = _check_response(file, response, start + len(data), end)
                for chunk in response.iter_bytes():
                    data += chunk
                    if progress is not None:
                        progress.update(len(chunk))
        except OfflineModeIsEnabled:
            raise _failure(file, "HF_HUB_OFFLINE is set", "unset it") from None
        except UnicodeEncodeError:
            raise _failure(file, "HF_TOKEN has characters that no token has", "correct or unset it") from None
        except HTTPError as error:
            # The text of a network error may quote a request's headers; its kind says enough.
            problem = f"the connection failed ({type(error).__name__})"
            continue
        if len(data) == end - start:
            return data, size
        if len(data) > end - start:
            raise _failure(file, "the server sent more than was asked for")
        problem = "the connection was closed early"
    raise _failure(file, f"{problem}, {ATTEMPTS} times")


def _session(file: HubFile) -> Any:
    """huggingface_hub's own session: httpx's client, or, from huggingface_hub 2 on, httpx2's."""
    try:
        return get_session()
    except ValueError:  # Not its text, which may quote a proxy's password.
        raise _failure(file, "the proxy that the environment names makes no sense", "correct HTTPS_PROXY") from None


def _check_response(file: HubFile, response: Any, start: int, end: int) -> int:
    """The size of the whole file, if the response is the asked part of the right one.

    `response` is httpx's or, from huggingface_hub 2 on, httpx2's.
    """
    status = response.status_code
    if status in (401, 403):
        raise _failure(file, f"access was refused (HTTP {status})", "correct or unset HF_TOKEN")
    if status == 404:
        raise _failure(file, "there is no such file (HTTP 404)", "check HF_ENDPOINT")
    if status == 200:
        raise _failure(file, "the server does not send parts of files", "check HF_ENDPOINT and proxies")
    if status == 416:
        raise _failure(file, f"it has fewer bytes than expected, none after {start} instead of at least {end}")
    # The Hub names the commit in its own answer, which redirects to another host for the bytes.
    for answer in (*response.history, response):
        commit = answer.headers.get("X-Repo-Commit", file.revision)
        if commit != file.revision:
            raise _failure(file, f"the server sent revision {commit}, expected {file.revision}")
    unit, _, places = response.headers.get("Content-Range", "").partition(" ")
    span, _, size = places.partition("/")
    if status != 206 or unit != "bytes" or not size.isdecimal():
        raise _failure(file, f"the server gave an answer that makes no sense (HTTP {status})")
    if int(size) < end:
        raise _failure(file, f"it has fewer bytes than expected, {size} instead of at least {end}")
    if span != f"{start}-{end - 1}":
        raise _failure(file, f"the server sent bytes {span}, asked for {start}-{end - 1}")
    return int(size)


def _address(file: HubFile) -> str:
    """The file's URL. HF_ENDPOINT is read now, as huggingface_hub reads it once, when it is imported."""
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    if not _is_address(endpoint):
        raise InputError(
            "the environment variable HF_ENDPOINT is not the address of a server; expected one like "
            "https://huggingface.co, or use the embedded weights 'oxford', which need no network"
        )
    return hf_hub_url(file.repo, file.filename, revision=file.revision, endpoint=endpoint)


def _is_address(endpoint: str) -> bool:
    """Whether this can be a server's address, before the network library fails on it in its own words."""
    try:
        return _ENDPOINT.fullmatch(endpoint) is not None and urlsplit(endpoint).port != 0
    except ValueError:  # an IPv6 address or a port that is none
        return False


def _failure(file: HubFile, problem: str, advice: str = "try again later") -> InputError:
    """The error for a file that cannot be had."""
    return InputError(
        f"could not read {file.filename} of {file.repo} from the Hugging Face Hub: {problem}; {advice}, "
        "or use the embedded weights 'oxford', which need no network"
    )
