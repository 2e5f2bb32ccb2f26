import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.cli.app import main
from jaxstyle.cli.sweep import read_axes
from jaxstyle.errors import InputError
from jaxstyle.minimize import loop

# Options of the command line are no paths before they are parsed.
pytestmark = pytest.mark.usefixtures("unchecked")

SMALL = ("--preset", "gram", "--size", "64", "--steps", "4")


@pytest.fixture
def run(tmp_path, china, starry, tiny_weights):
    """The command with two small pictures and a tiny network; its exit code."""
    js.save_image(tmp_path / "photo.png", china)
    js.save_image(tmp_path / "painting.png", starry)

    def command(*words, verb="sweep", output="sheet.png"):
        pictures = [str(tmp_path / name) for name in ("photo.png", "painting.png")]
        with pytest.raises(SystemExit) as ended:
            main([verb, *pictures, "-o", str(tmp_path / output), *SMALL, "--weights", tiny_weights, *words])
        return ended.value.code

    return command


def test_axes_are_options_with_commas():
    axes, sweep_cells = read_axes(
        ["a.jpg", "b.jpg", "-o", "x,y.png", "--mosaic=0,0.5", "--seed", "1", "--tv-weight", "0,1,2"]
    )
    assert axes == {"mosaic": ("0", "0.5"), "tv-weight": ("0", "1", "2")}
    # The first changes fastest: it is the columns.
    assert [cell[5:] for cell in sweep_cells] == [
        [mosaic, "--seed", "1", "--tv-weight", tv] for tv in ("0", "1", "2") for mosaic in ("0", "0.5")
    ]
    assert all(cell[:5] == ["a.jpg", "b.jpg", "-o", "x,y.png", "--mosaic"] for cell in sweep_cells)


def test_a_plus_joins_words_only_where_there_can_be_several():
    _, sweep_cells = read_axes(["a.jpg", "--style-loss", "gram,mean+std", "--style-scale", "1+2,2+1"])
    assert sweep_cells[1] == ["a.jpg", "--style-loss", "mean+std", "--style-scale", "1", "2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "1,2", "--mosaic", "0,1", "--tv-weight", "0,1"], "expected at most two such options"),
        (["--seed", "1,1"], "expected different values"),
        (["--seed", "1,,2"], "expected different values"),
        (["--seed", ",".join(map(str, range(401)))], "401 cells, expected at most 400"),
    ],
)
def test_axes_that_cannot_be_drawn(words, message):
    with pytest.raises(InputError, match=message):
        read_axes(words)


def test_a_grid_of_traced_options_compiles_once_and_each_cell_is_its_own_run(run, tmp_path):
    before = loop.run._cache_size()
    words = ["--strength", "0.3,0.8", "--style-layers", "relu1_1+relu2_1+relu3_1,relu2_1", "--init", "content"]
    assert run(*words, "--cells", str(tmp_path / "cells")) == 0
    assert loop.run._cache_size() == before + 1
    sheet = js.load_image(tmp_path / "sheet.png")
    recipe = js.read_recipe(tmp_path / "sheet.png")
    assert recipe["axes"] == {
        "strength": ["0.3", "0.8"],
        "style-layers": ["relu1_1+relu2_1+relu3_1", "relu2_1"],
    }
    paths = sorted((tmp_path / "cells").iterdir())
    assert len(paths) == 4
    sweep_cells = {path.stem: js.load_image(path) for path in paths}
    assert len({np.asarray(cell).tobytes() for cell in sweep_cells.values()}) == 4
    # Each is on the sheet, at the place that its labels say: rows from the bottom, columns from the right.
    height, width = next(iter(sweep_cells.values())).shape[:2]
    corner = sheet[-8 - height : -8, -8 - width : -8]
    np.testing.assert_array_equal(corner, sweep_cells["004_strength-0.8_style-layers-relu2_1"])

    # And it is what stylize gives for these options alone, but for rounding.
    assert run("--strength", "0.8", "--style-layers", "relu2_1", verb="stylize", output="alone.png") == 0
    alone = js.load_image(tmp_path / "alone.png")
    assert float(jnp.mean(jnp.abs(alone - corner))) < 2e-3
    recipe = js.read_recipe(tmp_path / "cells" / "004_strength-0.8_style-layers-relu2_1.png")
    assert recipe["settings"]["style_layers"] == ["relu2_1"]
    assert recipe["loss"] == pytest.approx(js.read_recipe(tmp_path / "alone.png")["loss"], rel=1e-3)


def test_options_of_the_structure_are_axes_too(run, tmp_path):
    assert run("--pooling", "max,avg", "--cells", str(tmp_path / "cells")) == 0
    one, other = (js.load_image(path) for path in sorted((tmp_path / "cells").iterdir()))
    assert float(jnp.mean(jnp.abs(one - other))) > 1e-3


def test_many_values_of_one_option_go_on_in_the_next_row(run, tmp_path):
    assert run("--seed", "0,1,2,3,4,5,6,7") == 0
    sheet = js.load_image(tmp_path / "sheet.png")
    assert sheet.shape[0] > 2 * 43
    assert sheet.shape[1] < 7 * 64 + 8 * 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "1"], "no option has several values"),
        # A misspelled axis is a misspelled option.
        (["--sed", "1,2"], "--sed"),
        (["--strength", "0.5,1.5"], "strength is 1.5"),
        (
            ["--seed", "0,1", "--save-every", "2"],
            "--save-every saves numbered pictures beside the cells of a sweep: add --cells",
        ),
        (["--seed", "0,1", "--checkpoint", "{folder}/sheet.png"], "--checkpoint is {folder}/sheet.png, another file"),
        (["--seed", "0,1", "--distributed", "auto"], "--distributed does not apply to a sweep"),
        (["--style-weight", "1+2,3+4"], "style weight has 2 numbers"),
        # The second structure, before anything of the first is computed.
        (["--size", "64,16"], "at least 32"),
        (["--seed", "0,1", "--cells", "{folder}/photo.png"], "cannot make the folder"),
    ],
)
def test_sweeps_that_cannot_be(run, tmp_path, capsys, words, message):
    assert run(*(word.format(folder=tmp_path) for word in words)) == 2
    assert message.format(folder=tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


def test_a_cell_that_is_not_finite_is_blank_and_told(run, tmp_path, capsys):
    words = ("--variation", "absolute", "--tv-weight", "3e38,0", "--cells", str(tmp_path / "cells"))
    assert run(*words) == 1
    assert "1 of the pictures had no finite loss" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "cells").iterdir()] == ["002_tv-weight-0.png"]
    assert (tmp_path / "sheet.png").exists()


def test_ctrl_c_keeps_what_is_there(run, tmp_path, monkeypatch):
    """In the second of three structures."""
    from jaxstyle.cli import sweep_cells

    made, real = [], sweep_cells.stylize_batch

    def interrupted(*arguments, **options):
        made.append(1)
        results = real(*arguments, **options)
        return [each._replace(status=js.Status.INTERRUPTED) for each in results] if len(made) == 2 else results

    monkeypatch.setattr(sweep_cells, "stylize_batch", interrupted)
    assert run("--pooling", "max,avg,l2", "--cells", str(tmp_path / "cells")) == 130
    assert len(made) == 2
    assert len(list((tmp_path / "cells").iterdir())) == 2
    assert (tmp_path / "sheet.png").exists()


def test_what_does_not_fit_at_once_goes_in_equal_parts(run, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxstyle.transfer.memory.free_memory", lambda: 1)
    before = loop.run._cache_size()
    assert run("--seed", "0,1,2", "--cells", str(tmp_path / "cells")) == 0
    assert loop.run._cache_size() <= before + 1
    assert len(list((tmp_path / "cells").iterdir())) == 3


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_appears_during_the_sweep_is_replaced_only_with_force(run, tmp_path, capsys, monkeypatch, force):
    """A cell and the sheet."""
    from jaxstyle.cli import sweep_cells

    real, cell = sweep_cells.stylize_batch, tmp_path / "cells" / "002_seed-1.png"

    def appearing(*arguments, **options):
        for path in (cell, tmp_path / "sheet.png"):
            path.write_bytes(b"precious")
        return real(*arguments, **options)

    monkeypatch.setattr(sweep_cells, "stylize_batch", appearing)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    words = ["--seed", "0,1", "--cells", str(tmp_path / "cells"), *(["--force"] if force else [])]
    assert run(*words) == (0 if force else 1)
    for path in (cell, tmp_path / "sheet.png"):
        assert (path.read_bytes() == b"precious") != force
        assert len(list(tmp_path.glob(f"jaxstyle-*/{path.name}"))) == (0 if force else 1)
    assert ("another file has appeared there during the run" in capsys.readouterr().err) != force
    assert js.read_recipe(tmp_path / "cells" / "001_seed-0.png")["settings"]["seed"] == 0


SHALLOW = ("--content-layers", "relu1_1", "--scales", "2", "--steps", "20")


@pytest.mark.parametrize(
    ("axes", "scales"),
    [
        (["--style-layers", "relu1_1", "--style-scale", "1,0.05"], [2, 1]),
        # A deeper layer needs larger images, and so allows fewer scales, but only in its own cells.
        pytest.param(
            ["--style-layers", "relu1_1,relu3_1", "--style-scale", "1,0.2"], [2, 2, 2, 1], marks=pytest.mark.long
        ),
    ],
)
def test_each_cell_has_the_scales_of_its_own_run(run, monkeypatch, axes, scales):
    """The size of the style allows two scales in one cell and one in another: they cannot share a batch."""
    from jaxstyle.cli import sweep_cells

    counts = []

    def record(**arguments):
        results = run_for_real(**arguments)
        counts.extend(len(result.scales) for result in results)
        return results

    run_for_real = sweep_cells.stylize_batch
    monkeypatch.setattr(sweep_cells, "stylize_batch", record)
    assert run(*SHALLOW, *axes) == 0
    assert sorted(counts) == sorted(scales)


def test_a_cell_with_fewer_scales_does_not_change_the_others(run, tmp_path):
    words = (*SHALLOW, "--style-layers", "relu1_1", "relu2_1")
    assert run(*words, "--style-scale", "1,0.1", "--cells", str(tmp_path / "cells")) == 0
    for cell, scale in (("001_style-scale-1", "1"), ("002_style-scale-0.1", "0.1")):
        assert run(*words, "--style-scale", scale, verb="stylize", output=f"{scale}.png") == 0
        alone = js.read_recipe(tmp_path / f"{scale}.png")
        assert js.read_recipe(tmp_path / "cells" / f"{cell}.png")["loss"] == pytest.approx(alone["loss"], rel=1e-3)


def test_only_options_with_values_are_axes():
    """A flag is followed by a file, which can have a comma in its name; so can a value that starts with a minus."""
    for flag in ("-v", "--verbose", "--no-verbose", "-q", "--force"):
        axes, cells = read_axes([flag, "a,b.jpg", "c,d.jpg", "--seed", "1,2"])
        assert axes == {"seed": ("1", "2")}
        assert cells[1] == [flag, "a,b.jpg", "c,d.jpg", "--seed", "2"]
    axes, _ = read_axes(["-o", "x,y.png", "--compile-cache", "a,b", "--tv_weight", "0,1"])
    assert axes == {"tv-weight": ("0", "1")}
    assert read_axes(["--content-weight", "-1,2", "a,b.jpg"])[0] == {"content-weight": ("-1", "2")}
