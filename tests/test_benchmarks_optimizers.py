"""The study of optimizers: counting, searching and tables, without measurements.

The contestants of PyTorch, SciPy and optimistix are not run, because the tests do not depend on those packages. They
were compared manually with plain calls of each library (a counting closure in `torch.optim.LBFGS`, `nfev` of
`scipy.optimize.minimize`, a callback in `optimistix.minimize`): the same number of evaluations, the same losses.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image as Pillow

import jaxstyle as js
from benchmarks import __main__ as dispatcher
from benchmarks import contestants, optimizers, optimizers_report, record
from benchmarks.contestants import CONTESTANTS

SHAPE = (32, 48)
# Shallow, so that it compiles fast.
OBJECTIVE = js.Objective(content_layers=("relu2_1",), style_layers=("relu1_1", "relu2_1"))
FORMULA = (js.LossWeights(), OBJECTIVE)


@pytest.fixture(scope="module")
def meter(tiny_params):
    return contestants.Meter(tiny_params, *FORMULA)


@pytest.fixture(scope="module")
def targets(tiny_params):
    return js.make_targets(tiny_params, js.white_noise(1, *SHAPE), [js.white_noise(2, *SHAPE)], OBJECTIVE)


@pytest.fixture
def start():
    return js.white_noise(3, *SHAPE)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


# Contestants


def record_evaluated(monkeypatch):
    """Return a list to which every evaluated image is appended."""
    evaluate, evaluated = js.value_and_grad, []

    def spy(image, *rest):
        evaluated.append(np.array(image))
        return evaluate(image, *rest)

    monkeypatch.setattr(js, "value_and_grad", spy)
    return evaluated


# The other history sizes and exponents differ only in a number.
KINDS = [
    name
    for name in CONTESTANTS
    if not CONTESTANTS[name].package and "-memory-" not in name and "-exponent-" not in name and name != "optax-zoom"
]


@pytest.mark.usefixtures("lenient_promotion")
@pytest.mark.parametrize("name", KINDS)
def test_every_evaluation_is_counted_and_recorded(name, meter, targets, start, monkeypatch):
    evaluated = record_evaluated(monkeypatch)
    trace = contestants.measure(CONTESTANTS[name], meter, targets, start, 12)
    monkeypatch.undo()
    assert len(evaluated) == len(trace.losses) == len(trace.seconds) == 12
    assert list(trace.seconds) == sorted(trace.seconds)
    assert trace.stopped == ""
    np.testing.assert_array_equal(evaluated[0], start)
    again = [js.value_and_grad(jnp.asarray(image), meter.params, targets, *FORMULA) for image in evaluated]
    np.testing.assert_allclose(trace.losses, [float(losses.total) for losses, _ in again], rtol=1e-6)
    assert trace.losses[-1] < trace.losses[0]
    if CONTESTANTS[name].box:
        assert all(image.min() >= 0 and image.max() <= 1 for image in evaluated)
    # The pictures are the successive best images, in 8 bits.
    best = [k for k in range(12) if trace.losses[k] < min(trace.losses[:k], default=np.inf)]
    assert trace.improved_at == [k + 1 for k in best]
    for k, picture in zip(best, trace.pictures, strict=True):
        np.testing.assert_array_equal(picture, np.round(np.clip(evaluated[k], 0, 1) * 255))


def test_contestant_jaxstyle_equals_the_library(meter, targets, start):
    trace = contestants.measure(CONTESTANTS["jaxstyle"], meter, targets, start, 10)
    targets = js.whiten(targets)
    state = js.init(start, meter.params, targets, *FORMULA, js.lbfgs())
    losses = []
    for _ in range(10):
        state = js.step(state, meter.params, targets, *FORMULA, js.lbfgs())
        losses.append(float(state.losses.total))
    # A different program rounds differently.
    np.testing.assert_allclose(trace.losses, losses, rtol=1e-3)


@pytest.mark.usefixtures("lenient_promotion")
def test_zoom_counts_what_its_line_search_evaluates(meter, targets, start):
    """Compare with optax's count of line-search steps, one evaluation each; a start from a dark image needs many."""
    start = 0.1 * start
    optimizer, image, ends = optax.lbfgs(), start, [1]

    def total(image):
        return js.value_and_grad(image, meter.params, targets, *FORMULA)[0].total

    @jax.jit
    def step(image, state):
        value, gradient = optax.value_and_grad_from_state(total)(image, state=state)
        updates, state = optimizer.update(gradient, state, image, value=value, grad=gradient, value_fn=total)
        return optax.apply_updates(image, updates), state

    state, values = optimizer.init(start), []
    for _ in range(4):
        image, state = step(image, state)
        ends.append(ends[-1] + int(optax.tree.get(state, "info").num_linesearch_steps))
        values.append(float(optax.tree.get(state, "value")))
    trace = contestants.measure(CONTESTANTS["optax-zoom"], meter, targets, start, ends[-1])
    assert len(trace.losses) == ends[-1] > 10
    for low, high, value in zip(ends[:-1], ends[1:], values, strict=True):
        assert min(abs(loss / value - 1) for loss in trace.losses[low:high]) < 1e-4


def test_saved_loss_is_that_of_the_eight_bits(meter, targets):
    meter.start_run(targets, 0)
    picture = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    image = jnp.asarray(picture.astype(np.float32) / np.float32(255))
    expected = js.value_and_grad(image, meter.params, targets, *FORMULA)[0].total
    assert meter.saved_loss(picture) == float(expected)
    assert meter.losses == []


# Finding the evaluation that reaches a target


def test_best_index():
    improved_at = [1, 4, 9]
    assert [optimizers.best_index(improved_at, k) for k in (1, 3, 4, 8, 9, 300)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("target", "expected"), [(100.0, 1), (50.0, 9), (49.9, 10), (1.0, 58), (0.5, None)])
def test_bisection_in_the_box(target, expected):
    """Pictures after 1, 2, ... 10, then every fourth evaluation, with decreasing losses."""
    improved_at = [*range(1, 11), *range(14, 60, 4)]
    losses = [100.0, *np.linspace(90.0, 55.0, 7), 50.0, 49.0, *np.linspace(40.0, 1.0, 12)]
    tried = []

    def loss(i):
        tried.append(i)
        return losses[i]

    assert optimizers.first_reaching(improved_at, loss, target, (10, 58), box=True) == expected
    assert len(tried) <= 6


def test_out_of_the_box_each_picture_counts():
    """Clipping can make a better image worse, so bisection is not valid."""
    losses = [9.0, 8.0, 9.5, 5.0, 7.0, 6.0, 4.0]
    search = {"improved_at": [*range(1, 8)], "loss": losses.__getitem__, "judged_at": (2, 6, 7), "box": False}
    assert optimizers.first_reaching(target=6.5, **search) == 4
    assert optimizers.first_reaching(target=5.5, **search) == 7, (
        "not reached after 6 evaluations, so only later pictures are tried"
    )
    assert optimizers.first_reaching(target=9.0, **search) == 1
    assert optimizers.first_reaching(target=1.0, **search) is None


# The report, on invented runs


def run(optimizer, saved, *, pair="a+b", init="content", losses="4 3", seconds="0.5 1.0", reached=None):
    return {
        "pair": pair,
        "size": 96,
        "init": init,
        "optimizer": optimizer,
        "evaluations": 50,
        "stopped": "",
        "saved": {"25": saved[0], "50": saved[1]},
        "reached": {"evaluations": 50, **reached} if reached else {},
        "losses": losses,
        "seconds": seconds,
    }


@pytest.fixture
def invented():
    return {
        "reference": "torch",
        "runs": [
            run("torch", (40.0, 20.0), seconds="1 2"),
            run("jaxstyle", (20.0, 10.0), reached={"saved": 25, "unclamped": 40}),
            run("adam-5", (80.0, 20.0), losses="4 5", reached={"saved": None, "unclamped": None}),
            run("torch", (4.0, 2.0), pair="c+d", seconds="1 2"),
            run("jaxstyle", (2.0, 2.0), pair="c+d", reached={"saved": 50, "unclamped": None}),
            run("adam-5", (8.0, 16.0), pair="c+d", losses="4 nan", reached={"saved": None, "unclamped": None}),
        ],
    }


def cells(table, name):
    return next(line for line in table.splitlines() if line.startswith(f"| {name} |")).strip("| ").split(" | ")[1:]


def test_geometric_mean():
    assert optimizers_report.geometric_mean([1.0, 4.0]) == pytest.approx(2)
    assert optimizers_report.geometric_mean([]) is None


def test_evaluations_table(invented):
    """25 and 50 of 50 evaluations: a geometric mean of sqrt(1/2). A run that does not reach the loss gives a bound."""
    saved = optimizers_report.evaluations_table(invented, "saved")
    assert cells(saved, "jaxstyle") == ["0.707", "0.707", "1", "0 of 2"]
    assert cells(saved, "adam-5") == ["> 1", "> 1", "—", "2 of 2"]
    assert "torch" not in saved
    unclamped = optimizers_report.evaluations_table(invented, "unclamped")
    assert cells(unclamped, "jaxstyle") == ["> 0.894", "> 0.894", "—", "1 of 2"]


def test_shares_are_of_the_reference_s_evaluations(invented):
    """A run of 50 evaluations beside one of 200: reached after 25, an eighth; never, at least a quarter."""
    for run_ in invented["runs"]:
        if run_["reached"]:
            run_["reached"]["evaluations"] = 200
    saved = optimizers_report.evaluations_table(invented, "saved")
    assert cells(saved, "jaxstyle") == ["0.177", "0.177", "0.25", "0 of 2"]
    assert cells(saved, "adam-5") == ["> 0.25", "> 0.25", "—", "2 of 2"]


def test_ranking_uses_the_end_of_the_shortest_run(invented):
    invented["runs"][0]["saved"] |= {"25": 1.0, "100": 1.0}
    invented["runs"][3]["saved"]["25"] = 0.1
    assert optimizers_report.common_mark(invented) == "50"
    assert optimizers_report.ranking(invented) == ["jaxstyle", "torch", "adam-5"]
    invented["runs"][1]["saved"] = {"12": 1.0}
    with pytest.raises(js.InputError, match="no common evaluation with a saved loss"):
        optimizers_report.common_mark(invented)


def test_losses_table(invented):
    table = optimizers_report.losses_table(invented)
    # After 25, 50 (sqrt(2 * 1)), 100 and 200; the worst after 50; seconds; diverged; stopped early.
    assert cells(table, "torch") == ["2", "1.41", "—", "—", "2", "2", "0 of 2", "0"]
    assert cells(table, "adam-5") == ["4", "4", "—", "—", "8", "1", "2 of 2", "0"]
    assert optimizers_report.ranking(invented) == ["jaxstyle", "torch", "adam-5"]


def test_curve(invented):
    by_seconds = optimizers_report.curve(
        invented, "jaxstyle", "content", lambda run, other, k: optimizers_report.seconds(run, k) / 2
    )
    np.testing.assert_allclose(by_seconds, [(0.5, (1 * 1) ** 0.5), (0.5, (0.5 * 1) ** 0.5)])
    assert optimizers_report.curve(invented, "jaxstyle", "noise", lambda run, other, k: k) == []


def test_curves_of_one_plot_use_the_same_images(invented):
    """adam-5 ran only on the second pair, on which our loss equals the reference's."""
    del invented["runs"][2]
    both = optimizers_report.curve(invented, "jaxstyle", "content", lambda run, other, k: k, ["jaxstyle", "adam-5"])
    np.testing.assert_allclose(both, [(25, 1), (50, 1)])


def test_without_the_reference_curves_are_relative_to_ours(invented):
    invented["runs"] = [run_ for run_ in invented["runs"] if run_["optimizer"] != "torch"]
    (_, end) = optimizers_report.curve(invented, "adam-5", "content", lambda run, other, k: k)
    assert end == pytest.approx((50, 4))


def test_kendall():
    assert optimizers_report.kendall("abcd", "abcd") == 1
    assert optimizers_report.kendall("abcd", "dcba") == -1
    assert optimizers_report.kendall("abcd", "bacd") == pytest.approx(4 / 6)


def test_compare(invented, results, capsys):
    record.write("one", invented)
    for run_ in invented["runs"]:
        if run_["optimizer"] == "torch":
            run_["saved"]["50"] = 1000.0
    record.write("two", invented)
    assert dispatcher.main(["optimizers", "--compare", "one", "one"]) == 0
    assert "correlation 1.00 over 3 contestants: the same order" in capsys.readouterr().out
    assert dispatcher.main(["optimizers", "--compare", "one", "two"]) == 0
    assert "correlation 0.33 over 3 contestants: different orders" in capsys.readouterr().out


# The command


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("content_photo", (50, 60)), ("style_one", (70, 50)), ("style_two", (60, 60))):
        Pillow.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(folder / f"{name}.jpg")
    return folder


@pytest.fixture
def command(images, results, tiny_params, monkeypatch):
    """A study of two contestants with a tiny network."""
    monkeypatch.setattr(js, "load_params", lambda: tiny_params)
    fixed = [
        "--images",
        str(images),
        "--sizes",
        "48",
        "--evaluations",
        "12",
        "--optimizers",
        "jaxstyle",
        "adam-clipped",
    ]
    return lambda *argv: dispatcher.main(["optimizers", *fixed, *argv])


@pytest.mark.usefixtures("lenient_promotion")
def test_a_study(command, results, capsys):
    assert command("--pairs", "photo+one", "--inits", "content") == 0
    (ours, adam) = json.loads((results / "optimizers.json").read_text())["runs"]
    assert (ours["optimizer"], adam["optimizer"]) == ("jaxstyle", "adam-clipped")
    losses = optimizers_report.numbers(ours["losses"])
    assert len(losses) == len(optimizers_report.numbers(ours["seconds"])) == 12
    assert list(ours["saved"]) == ["10", "12"]
    # Within the box only the rounding to 8 bits is between the best and the saved picture.
    assert ours["saved"]["12"] == pytest.approx(min(losses), rel=0.05)
    assert "photo+one 48 content jaxstyle: 12 evaluations" in capsys.readouterr().out
    assert {path.name for path in results.iterdir()} == {
        "optimizers.json",
        "optimizers.md",
        *(f"optimizers_{kind}.png" for kind in ("evaluations", "seconds", "memory", "exponents")),
    }


@pytest.mark.usefixtures("lenient_promotion")
def test_jaxstyle_starts_with_a_mosaic_and_others_with_the_content(command, results, images, tiny_params):
    assert command("--pairs", "photo+one", "--inits", "content") == 0
    (ours, adam) = json.loads((results / "optimizers.json").read_text())["runs"]
    settings = js.preset("gatys-notebook")
    photo, style = (optimizers.load(images / f"{name}.jpg", 48) for name in ("content_photo", "style_one"))
    targets = js.make_targets(tiny_params, photo, [style], settings.objective)
    losses, _ = js.value_and_grad(photo, tiny_params, targets, settings.weights, settings.objective)
    first = [optimizers_report.numbers(run_["losses"])[0] for run_ in (ours, adam)]
    assert first[1] == pytest.approx(float(losses.total), rel=1e-4)
    assert first[0] != pytest.approx(first[1], rel=1e-2)


@pytest.mark.usefixtures("lenient_promotion")
def test_resume_and_merge(command, results, capsys):
    """Existing runs are not measured again; a merged result contains no run twice."""
    assert command("--pairs", "photo+one", "--inits", "content", "--name", "first") == 0
    runs = json.loads((results / "first.json").read_text())["runs"]
    capsys.readouterr()
    assert command("--pairs", "photo+one", "photo+two", "--inits", "content", "--name", "first", "--resume") == 0
    assert "photo+one" not in capsys.readouterr().out
    longer = json.loads((results / "first.json").read_text())
    assert longer["runs"][:2] == runs
    assert [run_["pair"] for run_ in longer["runs"]] == ["photo+one"] * 2 + ["photo+two"] * 2
    assert set(longer["pictures"]) == {"content_photo.jpg", "style_one.jpg", "style_two.jpg"}
    record.write("second", {**longer, "runs": [{**runs[0], "init": "noise"}, {**runs[1], "losses": "1 2"}]})
    assert dispatcher.main(["optimizers", "--merge", "first", "second", "--name", "both"]) == 0
    merged = json.loads((results / "both.json").read_text())["runs"]
    assert merged[:4] == longer["runs"]
    assert [run_["init"] for run_ in merged] == ["content"] * 4 + ["noise"]
    record.write("third", {**longer, "pictures": {"style_one.jpg": "another"}})
    assert dispatcher.main(["optimizers", "--merge", "first", "third"]) == 2
    assert "different images" in capsys.readouterr().err


def test_evaluations_until_the_reference_s_loss(monkeypatch):
    """A saved loss of 5 is reached after 3 evaluations, the reference's best evaluated one, 2, never."""
    trace = contestants.Trace([9.0, 7.0, 4.0], [0.1, 0.2, 0.3], [np.zeros((2, 2, 3), np.uint8)] * 3, [1, 2, 3], "")
    target = {"evaluations": 4, "saved": {"3": 6.0, "4": 5.0}, "losses": "8 2 6 7"}
    losses = [9.5, 7.5, 4.5]
    summary = optimizers.summarize(trace, losses.__getitem__, 3, target, box=True)
    assert summary["reached"] == {"evaluations": 4, "saved": 3, "unclamped": None}
    assert summary["saved"] == {"3": 4.5}
    assert summary["losses"] == "9 7 4"
    assert optimizers.summarize(trace, losses.__getitem__, 3, None, box=True)["reached"] == {}


def test_missing_packages(monkeypatch, capsys):
    """A requested one is an error; one of the defaults is skipped with a message."""
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(js.InputError, match="torch needs torch, which is not installed: pip install torch"):
        optimizers.available(["torch", "jaxstyle"], [])
    assert optimizers.available(None, ["scipy", "jaxstyle"]) == ["jaxstyle"]
    assert capsys.readouterr().out == "skipping scipy: pip install scipy\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "no images"),
        (["--images", "nowhere", "--pairs", "a+b"], "there is no nowhere"),
        (["--images", "nowhere", "--pairs", "a"], "expected CONTENT+STYLE"),
        (["--plot", "--name", "none"], "measure first"),
    ],
)
def test_wrong_use_is_one_sentence(argv, message, results, capsys):
    assert dispatcher.main(["optimizers", *argv]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_images_are_cropped_to_one_shape(images):
    """Load the center of an image that is black at the left and right."""
    pixels = np.zeros((60, 180, 3), np.uint8)
    pixels[:, 40:140] = 255
    Pillow.fromarray(pixels).save(images / "content_wide.jpg", quality=100)
    loaded = optimizers.load(images / "content_wide.jpg", 48)
    assert loaded.shape == (32, 48, 3)
    assert float(loaded.min()) > 0.95
    assert optimizers.load(images / "style_one.jpg", 96).shape == (64, 96, 3)


def test_quick_is_smaller():
    assert optimizers.parse(["--quick"]).name == "optimizers_quick"
    assert optimizers.parse(["--quick", "--name", "mine"]).name == "mine"
    assert set(optimizers.QUICK["optimizers"]) <= set(CONTESTANTS)
    assert optimizers.marks(100) == [10, 25, 50, 75, 100]
    assert optimizers.marks(60) == [10, 25, 50, 60]
