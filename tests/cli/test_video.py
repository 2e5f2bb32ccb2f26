"""`jaxstyle video`: clips in and out, one sentence for bad input, and after any kill the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from video.clips import decoded, gradient, sound_of, write_clip, write_sound, write_yuv

import jaxstyle as js
from jaxstyle.cli import app, work_folder
from jaxstyle.cli import video as command
from jaxstyle.image import io
from jaxstyle.minimize import checkpoint_file
from jaxstyle.transfer import run as driver
from jaxstyle.video.clip import clip_frames, open_clip

pytestmark = pytest.mark.usefixtures("unchecked")

FRAMES = 4
COMPILED_ANEW = ("--compile-cache", "off")
OPTIONS = ("--preset", "gram", "--size", "48", "--steps", "9", "--flow", "none", *COMPILED_ANEW)


def frames(count=FRAMES):
    """A scene of two frames, a cut, and a scene of the others."""
    return [gradient(k) if k < 2 else 255 - gradient(k)[::-1] for k in range(count)]


@pytest.fixture
def run(capsys, tmp_path, monkeypatch, starry, tiny_weights):
    """Run the command line in a folder with a clip and a painting; returns exit code, output and error stream."""
    monkeypatch.chdir(tmp_path)
    js.save_image("painting.png", starry)
    shutil.copy(tiny_weights, "tiny.safetensors")
    write_clip("clip.mp4", frames(), sound="aac")

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            app.main([str(word) for word in words])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


def video(clip="clip.mp4", out="out.mp4", *words):
    return ("video", clip, "painting.png", "-o", out, *OPTIONS, "--weights", "tiny.safetensors", *words)


def test_a_clip_becomes_a_video_with_its_sound(run, tiny_params, starry):
    code, output, error = run(*video())
    assert code == 0, error
    assert output.startswith("out.mp4: 4 frames of 48x36 in ")
    assert "4 frames of 48x36 pixels, 0.4 seconds, on CPU" in error
    assert "4/4 frames" in error
    assert not Path("out.mp4.frames").exists()
    assert sorted(os.listdir()) == ["clip.mp4", "out.mp4", "painting.png", "tiny.safetensors"]
    shown = decoded("out.mp4")
    assert [time for _, time in shown] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert sound_of("out.mp4")[0] == sound_of("clip.mp4")[0]
    # The results of the library.
    clip = clip_frames(open_clip("clip.mp4"), (48, 36))
    options = {"params": tiny_params, "preset": "gram", "steps": 9, "flow": "none"}
    results = js.stylize_video(clip, io.load_image("painting.png", 48), **options)
    for (frame, _), result in zip(shown, results, strict=True):
        assert np.abs(frame - 255 * np.asarray(result.image)).mean() < 4


def test_parts_make_the_same_video(run):
    """Whatever their order, with another number of frames done and resumed between."""
    assert run(*video("clip.mp4", "whole.mp4"))[0] == 0
    code, output, error = run(*video("clip.mp4", "out.mp4", "--part", "2/2"))
    assert (code, output) == (0, "")
    assert "part 2 of 2: frames 3 to 4" in error
    assert "part 2 of 2 is finished; 2 frames of others are missing" in error
    assert sorted(os.listdir("out.mp4.frames")) == ["00003.png", "00004.png", "video-2of2.state"]
    code, _, error = run("resume", "out.mp4")
    assert code == 2
    assert "out.mp4 is of several parts, expected the state of one of them, such as out.mp4.frames/video-2of2" in error
    code, _, error = run("resume", "out.mp4.frames/video-2of2.state")
    assert code == 0
    assert "2 frames of others are missing" in error
    for words in (("--init", "gray", "--part", "1/2"), ("--steps", "8", "--part", "1/2"), ("--part", "1/3")):
        code, _, error = run(*video("clip.mp4", "out.mp4", *words))
        assert code == 2
        assert error.count("\n") == 1
        assert "video-2of2.state is of another command: expected the same files, options and number of parts" in error
    code, _, error = run(*video("clip.mp4", "out.mp4", "--part", "1/1001"))
    assert code == 2
    assert error.count("\n") == 1
    code, output, error = run(*video("clip.mp4", "out.mp4", "--part", "1/2"))
    assert code == 0, error
    assert output.startswith("out.mp4: 4 frames of 48x36 in ")
    assert not Path("out.mp4.frames").exists()
    assert Path("out.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_more_parts_than_scenes(run):
    code, _, error = run(*video("clip.mp4", "out.mp4", "--part", "1/3"))
    assert code == 2
    assert "the clip has 2 scenes, expected at least one for each of the 3 parts" in error
    assert not Path("out.mp4.frames").exists()


def test_frames_of_an_earlier_video_do_not_count(run):
    assert run(*video("clip.mp4", "made"))[0] == 0
    shutil.copytree("made", "out.mp4.frames")
    code, _, error = run(*video("clip.mp4", "out.mp4", "--part", "1/2", "--force"))
    assert code == 0
    assert "2 frames of others are missing" in error
    assert not Path("out.mp4").exists()


def test_the_video_is_written_once(run, monkeypatch):
    """Where another part ends at the same time."""
    run(*video("clip.mp4", "out.mp4", "--part", "2/2"))

    def write_elsewhere(path, frames, *_, **__):
        for name in Path("out.mp4.frames").iterdir():
            name.unlink()
        raise js.InputError("cannot read 00001.png")

    monkeypatch.setattr(command, "write_video", write_elsewhere)
    code, output, error = run(*video("clip.mp4", "out.mp4", "--part", "1/2"))
    assert (code, output) == (0, "")
    assert "another part has written out.mp4" in error


@pytest.mark.parametrize("name", ["out.webm", "out.gif", "out.mkv"])
def test_other_formats(run, name):
    code, _, error = run(*video("clip.mp4", name, "--end", 0.2))
    assert code == 0, error
    shown = decoded(name)
    assert [time for _, time in shown] == pytest.approx([0, 0.1], abs=0.002)
    assert shown[0][0].shape == (36, 48, 3)
    assert ("hold no aac sound" in error) == (name != "out.mkv")


def test_folders_of_frames(run):
    code, output, error = run(*video("clip.mp4", "made/", "--every", 2, "--json"))
    assert code == 0, error
    fields = json.loads(output)
    assert (fields["output"], fields["frames"], fields["width"], fields["height"]) == ("made", 2, 48, 36)
    assert sorted(os.listdir("made")) == ["00001.png", "00002.png"]
    assert "finished frames are in made" in error
    code, _, error = run(*video("made/%05d.png", "again", "--rate", 5))
    assert code == 0, error
    assert sorted(os.listdir("again")) == ["00001.png", "00002.png"]
    assert "2 frames of 48x36 pixels, 0.4 seconds" in error
    code, _, error = run(*video("made", "again"))
    assert code == 2
    assert "the folder again is not empty: choose another name, or --force" in error
    code, _, error = run(*video("made", "made", "--force"))
    assert code == 2
    assert "the output made is one of the inputs" in error
    assert sorted(os.listdir("made")) == ["00001.png", "00002.png"]


def test_odd_sizes_and_one_frame(run):
    write_clip("odd.mkv", [gradient(0, 75, 51)], codec="ffv1", pix_fmt="bgr0")
    code, output, error = run(*video("odd.mkv", "odd.mp4", "--size", "original"))
    assert code == 0, error
    assert "1 frames of 74x50" in output
    (frame, _), *others = decoded("odd.mp4")
    assert (frame.shape, others) == ((50, 74, 3), [])
    code, output, error = run(*video("odd.mkv", "odd", "--size", "original"))
    assert code == 0, error
    with PIL.Image.open("odd/00001.png") as file:
        assert file.size == (75, 51)


def test_the_log_has_a_line_for_each_frame(run):
    code, _, error = run(*video("clip.mp4", "out.mp4", "--log-json", "run.jsonl", "-q"))
    assert (code, error) == (0, "")
    lines = [json.loads(line) for line in Path("run.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["begin", *["frame"] * 4, "end"]
    assert [line["frame"] for line in lines[1:-1]] == [1, 2, 3, 4]
    assert [line["evaluations"] for line in lines[1:-1]] == [9, 3, 9, 3]
    assert lines[-1]["exit_code"] == 0


def test_every_option_reaches_the_library(run, monkeypatch):
    received = {}

    def fake(clip, styles, settings, **options):
        received.update(options, settings=settings, styles=len(styles), frames=len(list(clip)))
        return iter(())

    monkeypatch.setattr(command, "stylize_video", fake)
    monkeypatch.setattr(command, "write_video", lambda path, *_, **options: received.update(path=path, **options))
    monkeypatch.setattr(work_folder.WorkFolder, "frames", lambda *_: [])
    words = ("--stability", 0.7, "--strength", 0.6, "--seed", 7, "--color", "luminance", "--mesh", "2x1", "--every", 2)
    code, _, error = run(*video()[:3], "painting.png", *video()[3:], *words, "--blend", 1, 3, "--force")
    assert code == 0, error
    settings = received["settings"]
    assert (settings.strength, settings.seed, settings.color, settings.steps) == (0.6, 7, "luminance", 9)
    assert (received["stability"], received["flow"], received["style_weights"]) == (0.7, "none", (1.0, 3.0))
    assert received["mesh"].devices.size == 2
    assert (received["styles"], received["frames"], received["path"], received["replace"]) == (
        2,
        2,
        Path("out.mp4"),
        True,
    )


# Kills the process at a frame: before it is written, between it and its state, after both, or while the video is.
KILLER = """
import os, signal, sys
import jaxstyle.cli as cli
from jaxstyle.cli import video
frame, place = int(sys.argv[1]), sys.argv[2]
count = 0
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
save_image, save_state, write = video.io.save_image, video.save_video_state, video.write_video
def image(*arguments, **options):
    global count
    count += 1
    if count == frame and place == "before":
        kill()
    save_image(*arguments, **options)
    if count == frame and place == "between":
        kill()
def state(*arguments):
    save_state(*arguments)
    if count == frame and place == "after":
        kill()
def video_file(path, *arguments, **options):
    if place == "video":
        open(str(path) + ".tmp", "w").close()
        kill()
    write(path, *arguments, **options)
video.io.save_image, video.save_video_state, video.write_video = image, state, video_file
cli.main(sys.argv[3:])
"""


def process(*words, kill=(0, "nowhere")):
    """Run the command line in another process."""
    code = [sys.executable, "-c", KILLER, *map(str, kill)]
    # The second process finds what the first has compiled.
    environment = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_COMPILATION_CACHE"}
    words = (*map(str, words), "--compile-cache", os.path.abspath("cache"))
    done = subprocess.run([*code, *words], env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, "before"), (2, "between")),
        pytest.param((1, "between"), (4, "after"), marks=pytest.mark.long),
        pytest.param((2, "after"), (1, "before"), marks=pytest.mark.long),
        pytest.param((3, "between"), (9, "video"), marks=pytest.mark.long),
    ],
    ids=str,
)
def test_a_run_that_is_killed_twice_ends_in_the_same_bytes(run, first, second):
    words = [word for word in video("clip.mp4", "out.mp4", "--color", "luminance") if word not in COMPILED_ANEW]
    code, error = process(*words)
    assert code == 0, error
    expected = Path("out.mp4").read_bytes()
    Path("out.mp4").unlink()
    assert process(*words, kill=first)[0] == -signal.SIGKILL
    assert not Path("out.mp4").exists()
    assert process("resume", "out.mp4", kill=second)[0] == -signal.SIGKILL
    assert not Path("out.mp4").exists()
    code, error = process("resume", "out.mp4")
    assert code == 0, error
    assert Path("out.mp4").read_bytes() == expected
    assert not Path("out.mp4.frames").exists()


def interrupted_at(monkeypatch, frame, number=signal.SIGTERM):
    """Let a signal arrive while a frame is made, from 1; a scene's first frame has one stage, as the others have."""
    original, calls = driver.minimize, []

    def minimize(*arguments):
        calls.append(1)
        if len(calls) == frame:
            signal.raise_signal(number)
        return original(*arguments)

    monkeypatch.setattr(driver, "minimize", minimize)


@pytest.mark.usefixtures("default_handlers")
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("out", ["out.mp4", "made"])
def test_a_signal_keeps_the_frames(run, monkeypatch, number, expected, out):
    assert run(*video("clip.mp4", "whole.mp4"))[0] == 0
    with monkeypatch.context() as patch:
        interrupted_at(patch, 3, number)
        code, output, error = run(*video("clip.mp4", out))
    assert (code, output) == (expected, "")
    assert "after 2 of 4 frames" in error
    assert f"to continue: jaxstyle resume {out}" in error
    folder = Path(out) if out == "made" else Path(f"{out}.frames")
    names = {"00001.png", "00002.png", "video.state"} | ({"so_far.mp4"} if out == "out.mp4" else set())
    assert set(os.listdir(folder)) == names
    if out == "out.mp4":
        assert len(decoded(folder / "so_far.mp4")) == 2
    code, _, error = run(*video("clip.mp4", out))
    assert code == 2
    assert f"is of a video that is not finished: continue it with jaxstyle resume {out}" in error
    code, _, error = run("resume", out, "--compile-cache", "off")
    assert code == 0, error
    assert "2 of 4 frames are finished already" in error
    if out == "out.mp4":
        assert Path(out).read_bytes() == Path("whole.mp4").read_bytes()
        assert not folder.exists()
    else:
        assert sorted(os.listdir(out)) == [f"{k:05d}.png" for k in range(1, 5)]


@pytest.fixture
def unfinished(run, monkeypatch, default_handlers):
    """Begin a video, and stop in its second frame."""
    with monkeypatch.context() as patch:
        interrupted_at(patch, 2)
        assert run(*video())[0] == 143
    return Path("out.mp4.frames")


def test_a_state_that_does_not_fit_is_refused(run, unfinished):
    state = unfinished / "video.state"
    before = state.read_bytes()

    def refused(*expected):
        code, output, error = run("resume", "out.mp4")
        assert (code, output) == (2, ""), error
        assert "Traceback" not in error
        for text in expected:
            assert text in error

    for wrong in (b"", before[:-9], before[:-1] + b"?", b"state"):
        state.write_bytes(wrong)
        refused("checkpoint")
    contents = checkpoint_file.read(unfinished / "video.state") if state.write_bytes(before) else None
    assert contents is not None
    checkpoint_file.write(state, contents._replace(metadata=contents.metadata | {"note": {}}))
    refused("has no settings")
    state.write_bytes(before)
    (unfinished / "00001.png").rename("kept.png")
    refused("00001.png is missing", "start the video again with --force")
    shutil.move("kept.png", unfinished / "00001.png")
    shutil.copy("clip.mp4", "kept.mp4")
    write_clip("clip.mp4", frames(3))
    refused("is of a video with other inputs: expected the same clip, paintings and weights")
    shutil.copy("kept.mp4", "clip.mp4")
    Path("out.mp4").write_bytes(b"of somebody else")
    refused("the output out.mp4 exists already: choose another name, or --force to replace it")
    Path("out.mp4").unlink()
    for word in ("-o", "other.mp4"), ("--distributed", "auto"):
        code, _, error = run("resume", "out.mp4", *word)
        assert code == 2
        assert "takes no --output and no --distributed" in error
    code, _, error = run("resume", "out.mp4.frames", "--compile-cache", "off")
    assert code == 0, error
    assert len(decoded("out.mp4")) == FRAMES


def test_force_starts_again(run, unfinished):
    code, _, error = run(*video("clip.mp4", "out.mp4", "--force"))
    assert code == 0, error
    assert len(decoded("out.mp4")) == FRAMES
    assert not unfinished.exists()


def test_files_of_others_stay(run, unfinished):
    (unfinished / "notes.txt").write_text("mine")
    (unfinished / ".jaxstyle-0123456789abcdef.tmp").write_text("of a process that was killed")
    assert run("resume", "out.mp4", "--compile-cache", "off")[0] == 0
    assert os.listdir(unfinished) == ["notes.txt"]


@pytest.mark.parametrize("place", ["frame", "state"])
def test_a_full_disk_loses_nothing(run, monkeypatch, place):
    original = io.save_image if place == "frame" else command.save_video_state
    calls = []

    def full(path, *arguments, **options):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device") if place == "state" else js.InputError("cannot write a frame")
        original(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(*(command.io, "save_image") if place == "frame" else (command, "save_video_state"), full)
        code, output, error = run(*video())
    assert (code, output) == (1, ""), error
    assert "; the finished frames are in out.mp4.frames; to continue: jaxstyle resume out.mp4" in error
    code, _, error = run("resume", "out.mp4", "--compile-cache", "off")
    assert code == 0, error
    assert f"{2 if place == 'frame' else 1} of 4 frames are finished already" in error
    assert len(decoded("out.mp4")) == FRAMES


def test_a_video_that_cannot_be_written_keeps_its_frames(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(command, "write_video", lambda *_, **__: (_ for _ in ()).throw(js.InputError("cannot write it")))
        code, output, error = run(*video())
    assert (code, output) == (1, ""), error
    assert "cannot write it; the finished frames are in out.mp4.frames; to continue: jaxstyle resume out.mp4" in error
    code, _, error = run("resume", "out.mp4", "--compile-cache", "off")
    assert code == 0, error
    assert "4 of 4 frames are finished already" in error


def test_a_disk_without_space_is_refused_before_the_run(run, monkeypatch):
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(work_folder.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 40_000, 40_000))
    code, _, error = run(*video())
    assert code == 2
    assert "4 frames of 48x36 pixels need up to 4.1e-05 GB in out.mp4.frames, but 4e-05 GB are free" in error


def test_bad_clips_are_one_sentence(run):
    Path("empty.mp4").touch()
    Path("text.mp4").write_text("no video")
    Path("folder").mkdir()
    write_sound("sound.m4a")
    write_yuv("hdr.mkv", [gradient(0)], matrix=9, full=False, bits=10, transfer=16)
    Path("short.mp4").write_bytes(Path("clip.mp4").read_bytes()[:300])
    write_clip("small.mp4", [gradient(0, 32, 16)])
    before = sorted(os.listdir())
    for clip, expected in {
        "empty.mp4": "is empty, expected a video",
        "text.mp4": "cannot read text.mp4",
        "folder": "has no pictures, expected frames such as 00001.png",
        "sound.m4a": "has no pictures, only sound or text",
        "hdr.mkv": "is in high dynamic range (PQ)",
        "short.mp4": "cannot read short.mp4",
        "nowhere.mp4": "No such file or directory",
        "small.mp4": "is 32x16 pixels, at least 32 a side are needed",
        "https://example.org/a.mp4": "is the address of a page",
        "-": "- is standard input or output, or a pipe",
    }.items():
        code, output, error = run(*video(clip))
        assert (code, output) == (2, ""), error
        assert expected in error
        assert "Traceback" not in error
    assert sorted(os.listdir()) == before


def test_a_damaged_clip_is_a_warning(run):
    write_clip("long.mp4", [gradient(k, 160, 120) for k in range(20)], g="1")
    data = bytearray(Path("long.mp4").read_bytes())
    place = data.index(b"mdat") + len(data) // 3
    data[place : place + 3000] = bytes(3000)
    Path("long.mp4").write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "stylize_video", lambda *_, **__: iter(()))
        patch.setattr(command, "write_video", lambda *_, **__: None)
        patch.setattr(work_folder.WorkFolder, "frames", lambda *_: [])
        code, _, error = run(*video("long.mp4"))
    assert code == 0, error
    assert "long.mp4 is damaged or cut short: " in error
    assert " of 20 frames can be read" in error


def test_options_of_pictures_are_none_of_a_video(run):
    code, _, error = run(*video(), "--content-mask", "painting.png")
    assert code == 2
    assert "unknown option --content-mask" in error
    code, output, _ = run("video", "--help")
    assert code == 0
    assert "--stability" in output
    assert "--content-mask" not in output
