"""The torchvision weights from a fake Hub on 127.0.0.1: transfers, the cache, checks and error messages."""

import base64
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from hub_server import FakeHub, serve
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from jaxstyle.errors import InputError
from jaxstyle.vgg import hub, weights
from jaxstyle.vgg import tensors as layout

TOKEN = "hf_a_secret_that_must_not_be_shown"
# Far fewer channels than the real network has, so that a test takes milliseconds.
NARROW = {layer: 2 + index % 3 for index, layer in enumerate(layout.LAYERS)}
FEATURES = dict(zip(layout.LAYERS, (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34), strict=True))


def timm_tensors(widths: dict[str, int]) -> dict[str, np.ndarray]:
    """Random weights under timm's names, and parts of a classifier."""
    rng = np.random.default_rng(7)
    tensors, channels = {}, 3
    for layer, index in FEATURES.items():
        width = widths[layer]
        tensors[f"features.{index}.weight"] = rng.standard_normal((width, channels, 3, 3), np.float32)
        tensors[f"features.{index}.bias"] = rng.standard_normal(width, np.float32)
        channels = width
    for name in ("classifier.0.weight", "head.fc.weight", "pre_logits.fc1.bias"):
        tensors[name] = rng.standard_normal(10_000, np.float32)
    return tensors


def timm_file(**changes: np.ndarray | None) -> bytes:
    """A narrow timm file; a change replaces, adds or (None) removes `features_N_part`."""
    tensors: dict[str, np.ndarray | None] = {**timm_tensors(NARROW)}
    tensors |= {name.replace("_", "."): array for name, array in changes.items()}
    return save({name: array for name, array in tensors.items() if array is not None}, {"format": "pt"})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub that serves narrow weights, and an empty cache."""
    monkeypatch.setattr(layout, "WIDTHS", NARROW)
    monkeypatch.setattr(hub, "RETRY_SECONDS", 0.0)
    with serve(timm_file(), weights.TORCHVISION.revision) as fake:
        use(fake.endpoint, tmp_path, monkeypatch)
        yield fake
        huggingface_hub.close_session()


def use(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment for one Hub, without the proxies of this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "cache"))
    huggingface_hub.close_session()


def cache_file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "vgg19_torchvision_128d4708565b.safetensors"


def failure() -> str:
    """Message of the error that loading raises."""
    with pytest.raises(InputError) as caught:
        weights.load_params("torchvision")
    message = str(caught.value)
    assert TOKEN not in message
    assert "signature" not in message
    return message


def test_reads_the_convolutions_once_and_nothing_else(fake: FakeHub, tmp_path: Path) -> None:
    params = weights.load_params("torchvision")

    tensors = timm_tensors(NARROW)
    for layer, index in FEATURES.items():
        np.testing.assert_array_equal(
            params[layer]["kernel"], tensors[f"features.{index}.weight"].transpose(2, 3, 1, 0)
        )
        np.testing.assert_array_equal(params[layer]["bias"], tensors[f"features.{index}.bias"])
    convolutions = sum(array.nbytes for name, array in tensors.items() if name.startswith("features."))
    header = 8 + int.from_bytes(fake.content[:8], "little")
    assert fake.bytes_sent == header + convolutions
    assert len(fake.data_requests) == 2 + 32  # the header's length, the header, and the tensors

    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cache_file(tmp_path).name]
    fake.requests.clear()
    again = weights.load_params("torchvision")
    np.testing.assert_array_equal(again["conv3_2"]["kernel"], params["conv3_2"]["kernel"])
    assert not fake.requests


def test_preprocessing_is_torchvisions(fake: FakeHub) -> None:
    pixels = np.array([[0.1, 0.5, 0.9]], np.float32)
    params = weights.load_params("torchvision")
    expected = (pixels - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)
    scale, shift = (np.asarray(params["input"][part]) for part in ("scale", "shift"))
    np.testing.assert_allclose(pixels * scale + shift, expected, rtol=1e-5)


def test_records_follow_the_cache(fake: FakeHub, tmp_path: Path) -> None:
    before = weights.list_weights()[1]
    assert (before.path, before.sha256) == (None, None)
    with pytest.raises(InputError, match="jaxstyle weights get torchvision"):
        weights.verify_weights("torchvision")

    assert weights.fetch_weights("torchvision") == cache_file(tmp_path)
    after = weights.verify_weights("torchvision")
    assert after == weights.list_weights()[1]
    assert after.path == cache_file(tmp_path)
    assert after.size == cache_file(tmp_path).stat().st_size
    assert after.sha256 == weights.weights_sha256("torchvision")
    # The cache is written byte for byte the same everywhere, so that its checksum names the weights.
    cache_file(tmp_path).unlink()
    assert weights.weights_sha256("torchvision") == after.sha256


def test_real_shapes(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    widths = dict(zip(layout.LAYERS, (64,) * 2 + (128,) * 2 + (256,) * 4 + (512,) * 8, strict=True))
    monkeypatch.setattr(layout, "WIDTHS", widths)
    fake.content = save(timm_tensors(widths))
    params = weights.load_params("torchvision")
    assert params["conv5_4"]["kernel"].shape == (3, 3, 512, 512)
    classifier = 3 * 10_000 * 4
    assert fake.bytes_sent == len(fake.content) - classifier
    assert weights.list_weights()[1].size > 80_000_000


def test_some_tensors_can_be_read(fake: FakeHub) -> None:
    infos = hub.read_header(weights.TORCHVISION)
    names = ["features.0.bias", "features.0.weight", "features.34.bias"]
    arrays = hub.read_tensors(weights.TORCHVISION, infos, names)
    assert set(arrays) == set(names)
    for name in names:
        np.testing.assert_array_equal(arrays[name], timm_tensors(NARROW)[name])


def test_a_broken_transfer_is_repeated(fake: FakeHub) -> None:
    fake.cuts = [3, None, None, 4, 0, None]
    params = weights.load_params("torchvision")
    ranges = [request.range for request in fake.data_requests]
    assert ranges[:2] == ["bytes=0-7"] * 2
    assert ranges[3] == ranges[4] == ranges[5]
    assert len(fake.data_requests) == 2 + 32 + 3
    np.testing.assert_array_equal(params["conv5_4"]["bias"], timm_tensors(NARROW)["features.34.bias"])


def test_a_transfer_that_breaks_every_time_fails(fake: FakeHub, tmp_path: Path) -> None:
    fake.cuts = [None, None, *[4] * 20]
    message = failure()
    assert "connection" in message
    assert "'oxford'" in message
    assert len(fake.data_requests) == 2 + hub.MAX_ATTEMPTS
    assert not list((tmp_path / "cache").iterdir())


def test_temporary_failures_are_retried(fake: FakeHub) -> None:
    fake.statuses = [503, 429]
    assert set(weights.load_params("torchvision")) == {"input", *layout.LAYERS}


def test_the_password_of_the_endpoint_is_sent_and_not_shown(fake, tmp_path, monkeypatch, capfd, caplog) -> None:
    """To the Hub instead of the token; retries show the URL."""
    use(fake.endpoint.replace("://", "://user:pass%20word@"), tmp_path, monkeypatch)
    fake.statuses = [503]
    assert set(weights.load_params("torchvision")) == {"input", *layout.LAYERS}
    assert {request.authorization for request in fake.requests if request.server == "hub"} == {
        f"Basic {base64.b64encode(b'user:pass word').decode()}"
    }
    assert {request.authorization for request in fake.data_requests} == {None}
    fake.statuses = [500] * 10
    cache_file(tmp_path).unlink()
    shown = failure() + caplog.text + "".join(capfd.readouterr())
    assert "Retrying" in shown
    assert "pass" not in shown


@pytest.mark.parametrize(
    ("status", "requests", "advice"),
    [(401, 1, "HF_TOKEN"), (403, 1, "HF_TOKEN"), (404, 1, "HF_ENDPOINT"), (500, 4, "try again later"), (418, 1, "418")],
)
def test_http_errors(fake: FakeHub, status: int, requests: int, advice: str) -> None:
    fake.statuses = [status] * 10
    message = failure()
    assert f"HTTP {status}" in message
    assert advice in message
    assert "'oxford'" in message
    assert len(fake.requests) == requests


def test_structure_is_refused_before_the_data_is_read(fake: FakeHub) -> None:
    fake.content = timm_file(
        features_0_weight=np.zeros((2, 3, 5, 5), np.float32),
        features_7_bias=None,
        features_10_bias=np.zeros(3, np.float16),
        features_99_weight=np.zeros(1, np.float32),
    )
    message = failure()
    assert "features.0.weight is F32 (2, 3, 5, 5), expected F32 (2, 3, 3, 3)" in message
    assert "features.7.bias is missing" in message
    assert "features.10.bias is F16" in message
    assert "features.99.weight is not part of VGG-19" in message
    assert len(fake.data_requests) == 2


def test_bad_values(fake: FakeHub, tmp_path: Path) -> None:
    fake.content = timm_file(
        features_0_bias=np.array([np.nan, 1], np.float32),
        features_2_bias=np.array([1, 1e9, -1], np.float32),
        features_5_weight=np.zeros((4, 3, 3, 3), np.float32),
    )
    message = failure()
    assert "features.0.bias has values that are not finite" in message
    assert "features.2.bias has values up to 1e+09" in message
    assert "features.5.weight is all zeros" in message
    assert not cache_file(tmp_path).exists()


def test_another_revision_is_rejected(fake: FakeHub) -> None:
    fake.commit = "f" * 40
    assert f"revision {'f' * 40}, expected {weights.TORCHVISION.revision}" in failure()


def test_size_changes_while_it_is_read(fake: FakeHub) -> None:
    infos = hub.read_header(weights.TORCHVISION)
    info = infos["features.34.weight"]
    for size in (info.end - 1, info.start, 6000):
        fake.content = fake.content[:size]
        with pytest.raises(InputError, match=f"{info.start}-{info.end - 1}|HTTP 416"):
            hub.read_tensors(weights.TORCHVISION, infos, ["features.34.weight"])


def test_shapes_that_do_not_match_the_bytes(fake: FakeHub) -> None:
    infos = hub.read_header(weights.TORCHVISION)
    info = infos["features.0.bias"]
    for change in ({"end": info.end + 4}, {"start": info.end}, {"start": info.end, "end": info.start}):
        infos["features.0.bias"] = info._replace(**change)
        with pytest.raises(InputError, match=r"its header is damaged: features.0.bias has -?\d+ bytes, not 8"):
            hub.read_tensors(weights.TORCHVISION, infos, ["features.0.bias"])


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"<!DOCTYPE html><html></html>", bytes(100), b"\x05" + bytes(7) + b"{{{{{"]
)
def test_not_a_safetensors_file(fake: FakeHub, content: bytes) -> None:
    fake.content = content
    assert "'oxford'" in failure()


def test_server_without_ranges(fake: FakeHub) -> None:
    fake.ranges = False
    assert "the server sent the whole file, expected bytes 0-7" in failure()


@pytest.mark.parametrize("content_range", ["bytes 1-8/99999", "bytes", "lines 0-7/99999", "bytes 0-6/99999"])
def test_invalid_content_ranges(fake: FakeHub, content_range: str) -> None:
    fake.content_range = content_range
    assert "'oxford'" in failure()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [flip, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.write_bytes(b"")],
    ids=["flipped", "cut", "empty"],
)
def test_damaged_cache_is_replaced(fake: FakeHub, tmp_path: Path, damage) -> None:
    weights.fetch_weights("torchvision")
    path = cache_file(tmp_path)
    good = path.read_bytes()
    damage(path)
    with pytest.raises(InputError):
        weights.verify_weights("torchvision")
    with pytest.warns(UserWarning, match="downloading the torchvision weights again, because .*safetensors"):
        weights.load_params("torchvision")
    assert path.read_bytes() == good


def test_concurrent_downloads(fake: FakeHub, tmp_path: Path) -> None:
    failures: list[Exception] = []

    def load() -> None:
        try:
            weights.load_params("torchvision")
        except InputError as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cache_file(tmp_path).name]
    weights.verify_weights("torchvision")


def test_cache_that_cannot_be_written(fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "file" / "cache"))
    message = failure()
    assert "JAXSTYLE_CACHE" in message
    assert "'oxford'" in message
    assert not fake.requests


def test_path_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "vgg19_torchvision_128d4708565b.safetensors"
    monkeypatch.delenv("JAXSTYLE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights._path_of("torchvision") == tmp_path / ".cache" / "jaxstyle" / name
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights._path_of("torchvision") == tmp_path / "xdg" / "jaxstyle" / name
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "own"))
    assert weights._path_of("torchvision") == tmp_path / "own" / name


def test_offline(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    # huggingface_hub reads the environment variable of this name when it is imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = failure()
    assert "HF_HUB_OFFLINE" in message
    assert "'oxford'" in message
    assert not fake.requests


def test_no_network(fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    use(f"http://127.0.0.1:{port}", tmp_path, monkeypatch)
    message = failure()
    assert "ConnectError" in message
    assert "'oxford', which need no network" in message


@pytest.mark.parametrize(
    "endpoint",
    [
        "huggingface.co",
        "ftp://huggingface.co",
        "http://",
        "http://[::1",
        "http://a:b",
        "http://a b",
        "http://a:99999",
        "http://[::::]",
    ],
)
def test_endpoint_that_is_not_a_url(
    fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    use(endpoint, tmp_path, monkeypatch)
    assert "HF_ENDPOINT" in failure()


def test_token_goes_to_the_hub_alone(fake: FakeHub, tmp_path: Path) -> None:
    weights.load_params("torchvision")
    assert {request.authorization for request in fake.requests if request.server == "hub"} == {f"Bearer {TOKEN}"}
    assert {request.authorization for request in fake.data_requests} == {None}
    assert TOKEN.encode() not in cache_file(tmp_path).read_bytes()


def test_invalid_token(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_t\N{LATIN SMALL LETTER O WITH DIAERESIS}ken")
    message = failure()
    assert "HF_TOKEN" in message
    assert "ken" not in message.replace("token", "").replace("TOKEN", "")


@given(
    text=st.one_of(
        st.binary(min_size=2, max_size=60),
        st.sampled_from(["[", '{"a":', "[]", "{}", '"a"', "1", "null"]).map(lambda part: part.encode() * 5000),
        st.builds(
            '{{"a":{{"dtype":"F32","shape":{},"data_offsets":{}}}}}'.format,
            st.sampled_from(["[1]", "[-1]", "[1.5]", "1", "null", "[]", '["1"]']),
            st.sampled_from(["[0,4]", "[4,0]", "[-4,0]", "[0]", "[0.0,4.0]", "null", '["0","4"]', "[0,1e400]"]),
        ).map(str.encode),
    )
)
def test_arbitrary_headers(text: bytes) -> None:
    content = len(text).to_bytes(8, "little") + text

    def read_range(file, start, end):
        return content[start:end]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "_read_range", read_range)
        try:
            infos = hub.read_header(weights.TORCHVISION)
        except InputError:
            return
    assert layout.find_structure_errors(infos, {}, layout.WIDTHS)
    assert all(isinstance(offset, int) for info in infos.values() for offset in (*info.shape, info.start, info.end))
