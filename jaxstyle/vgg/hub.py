"""Read selected tensors of a safetensors file on the Hugging Face Hub, by HTTP range requests for their bytes.

`huggingface_hub` downloads whole files only. Its public functions provide URLs, the token, proxies, retries and offline
mode, so that HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT have their usual effect. The token is
sent to the Hub only (redirects to another host drop it) and never appears in a message.

Imported on the first download: the network libraries are slow to import.
"""

import base64
import contextlib
import json
import math
import os
import re
from collections.abc import Iterable
from operator import index
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
from huggingface_hub import constants, hf_hub_url

# The base class of all network errors: from httpx, or from httpx2 since huggingface_hub 2.
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # pyright: ignore[reportPrivateImportUsage]
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff
from tqdm import tqdm

from jaxstyle.errors import InputError
from jaxstyle.vgg.tensors import HubFile, TensorInfo

MAX_ATTEMPTS = 4
# Seconds before the second attempt; doubled before each further one.
RETRY_SECONDS = 0.5

_MAX_HEADER_BYTES = 10_000_000
# Scheme, user, host or IPv6 address, port, path.
_ENDPOINT = re.compile(r"https?://([^\s/@]+@)?([\w.-]+|\[[\da-f:]+\])(:\d{1,5})?(/[\w./~-]*)?", re.ASCII)
# What to do about an HTTP status.
_ADVICE = {401: "correct or unset HF_TOKEN", 403: "correct or unset HF_TOKEN", 404: "check HF_ENDPOINT"}


def read_header(file: HubFile) -> dict[str, TensorInfo]:
    """Read the header of a safetensors file on the Hub.

    Args:
        file: must exist at its revision.

    Returns:
        Type, shape and byte range of every tensor, by name.

    Raises:
        InputError: if the Hub is unreachable, denies access, or sends anything but a safetensors file.
    """
    length = int.from_bytes(_read_range(file, 0, 8), "little")
    if not 2 <= length <= _MAX_HEADER_BYTES:
        raise _hub_error(file, f"it starts with a header of {length} bytes, so it is not a safetensors file")
    text = _read_range(file, 8, 8 + length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        infos = {}
        for name, entry in header.items():
            start, end = (8 + length + index(offset) for offset in entry["data_offsets"])
            infos[name] = TensorInfo(str(entry["dtype"]), tuple(map(index, entry["shape"])), start, end)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _hub_error(file, "its header is damaged") from None
    return infos


def read_tensors(file: HubFile, infos: dict[str, TensorInfo], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read tensors of a safetensors file on the Hub, with a progress bar if standard error is a terminal.

    Args:
        file: see `read_header`.
        infos: header of the file, from `read_header`.
        names: the float32 tensors to read; no other bytes are transferred.

    Returns:
        The arrays, by name.

    Raises:
        InputError: if the Hub is unreachable, denies access, or the file has changed since its header was read.
    """
    sizes = {name: 4 * math.prod(infos[name].shape) for name in names}
    arrays = {}
    with tqdm(total=sum(sizes.values()), desc=file.repo, unit="B", unit_scale=True, disable=None) as progress:
        for name, size in sizes.items():
            info = infos[name]
            if info.end - info.start != size:
                raise _hub_error(file, f"its header is damaged: {name} has {info.end - info.start} bytes, not {size}")
            arrays[name] = np.frombuffer(_read_range(file, info.start, info.end), "<f4").reshape(info.shape)
            progress.update(size)
    return arrays


def _read_range(file: HubFile, start: int, end: int) -> bytes:
    """Read the bytes from `start` to `end`; temporary failures are retried."""
    url, authorization = _file_url(file)
    # Without compression, so that byte counts are those of the file.
    headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity", **authorization}
    try:
        response = http_backoff(
            "GET",
            url,
            max_retries=MAX_ATTEMPTS - 1,
            base_wait_time=RETRY_SECONDS,
            headers=build_hf_headers(library_name="jaxstyle") | headers,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        )
        hf_raise_for_status(response)
    # Without their texts, which may quote request headers or the password of a proxy.
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise _hub_error(file, f"the server answered HTTP {status}", _ADVICE.get(status, "try again later")) from None
    except HTTPError as error:
        raise _hub_error(file, f"the connection failed ({type(error).__name__})") from None
    except OfflineModeIsEnabled:
        raise _hub_error(file, "HF_HUB_OFFLINE is set", "unset it") from None
    except UnicodeEncodeError:
        raise _hub_error(file, "HF_TOKEN has characters that no token has", "correct or unset it") from None
    except ValueError:
        raise _hub_error(file, "the proxy in the environment is not a valid URL", "correct HTTPS_PROXY") from None
    # The Hub names the commit in its response, which may redirect to another host for the bytes.
    commits = {hop.headers.get("X-Repo-Commit", file.revision) for hop in (*response.history, response)}
    sent = response.headers.get("Content-Range", "the whole file").partition("/")[0]
    if commits != {file.revision}:
        raise _hub_error(file, f"the server sent revision {min(commits - {file.revision})}, expected {file.revision}")
    if sent != f"bytes {start}-{end - 1}" or len(response.content) != end - start:
        raise _hub_error(
            file, f"the server sent {sent}, expected bytes {start}-{end - 1}", "check HF_ENDPOINT and proxies"
        )
    return response.content


def _file_url(file: HubFile) -> tuple[str, dict[str, str]]:
    """URL of the file, and a header for the user and password of HF_ENDPOINT, since URLs are shown at every retry.

    Reads HF_ENDPOINT at every call; huggingface_hub reads it once, at import.
    """
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    # Checked here because the network library's own errors are unclear. `port` raises ValueError if it is invalid.
    with contextlib.suppress(ValueError):
        if (match := _ENDPOINT.fullmatch(endpoint)) and urlsplit(endpoint).port != 0:
            login = match[1] or ""
            url = hf_hub_url(file.repo, file.filename, revision=file.revision, endpoint=endpoint.replace(login, "", 1))
            encoded = base64.b64encode(unquote_to_bytes(login.removesuffix("@"))).decode()
            return url, {"authorization": f"Basic {encoded}"} if login else {}
    raise InputError(
        "the environment variable HF_ENDPOINT is not the URL of a server; expected one like "
        "https://huggingface.co, or use the embedded weights 'oxford', which need no network"
    )


def _hub_error(file: HubFile, problem: str, advice: str = "try again later") -> InputError:
    return InputError(
        f"could not read {file.filename} of {file.repo} from the Hugging Face Hub: {problem}; {advice}, "
        "or use the embedded weights 'oxford', which need no network"
    )
