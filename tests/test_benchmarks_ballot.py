"""The forced choice: the page names no method, and the ranking is the Bradley-Terry model's."""

import json
import re

import numpy as np
import pytest

import jaxstyle as js
from benchmarks import __main__ as dispatcher
from benchmarks import ballot, bradley_terry
from benchmarks.quality import pairs, pictures
from jaxstyle import InputError

METHODS = ("alpha", "beta", "gamma")


def test_two_items_have_the_log_odds():
    ranking = bradley_terry.fit(np.array([[0.0, 30.0], [10.0, 0.0]]), prior=0.0)
    np.testing.assert_allclose(ranking.scores, [np.log(3) / 2, -np.log(3) / 2], rtol=1e-9)
    # The log odds have the variance 1/30 + 1/10; each score is half of them.
    np.testing.assert_allclose(ranking.half_widths, 1.96 * np.sqrt(1 / 30 + 1 / 10) / 2, rtol=1e-9)


def test_a_simulated_ranking_is_found():
    rng, true = np.random.default_rng(0), np.array([1.0, 0.4, 0.0, -0.5, -0.9])
    wins = np.zeros((5, 5))
    for _ in range(6000):
        i, j = rng.choice(5, 2, replace=False)
        first = rng.random() < 1 / (1 + np.exp(true[j] - true[i]))
        wins[(i, j) if first else (j, i)] += 1
    ranking = bradley_terry.fit(wins)
    assert list(np.argsort(-ranking.scores)) == [0, 1, 2, 3, 4]
    assert np.all(np.abs(ranking.scores - true) < 2 * ranking.half_widths)
    assert np.all(ranking.half_widths < 0.15)
    # The gradient of the likelihood is zero there.
    probabilities = 1 / (1 + np.exp(ranking.scores[None] - ranking.scores[:, None]))
    gradient = np.sum(wins - (wins + wins.T) * probabilities, axis=1) - 0.1 * ranking.scores
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_a_method_that_always_won_has_a_finite_score():
    ranking = bradley_terry.fit(np.array([[0.0, 9.0], [0.0, 0.0]]))
    assert 1 < ranking.scores[0] < 10
    assert ranking.half_widths[0] > 0.5


def page_and_key(seed=0):
    rng = np.random.default_rng(1)

    def image():
        return rng.random((32, 48, 3), np.float32)

    sources = {pair: (image(), image()) for pair in ("cat+irises", "rocket+whalers")}
    results = {(pair, method): image() for pair in sources for method in METHODS}
    return ballot.make(sources, results, seed)


def content_of(page):
    return json.loads(re.search(r"const ballot = (.*);\n", page)[1])


def test_the_page_is_complete_and_names_no_method():
    page, key = page_and_key()
    text = re.sub(r"data:image/jpeg;base64,[^\"]*", "", page)
    assert len(text) < 10_000
    assert not [name for name in (*METHODS, "cat+", "irises", "rocket", "whalers") if name in text]
    assert not re.search(r"(?:src|href)=|https?://", page)
    content = content_of(page)
    assert len(content["questions"]) == 2 * 3
    assert content["id"] == key["ballot"]
    sides = set()
    for question in content["questions"]:
        assert all(
            content["images"][identifier].startswith("data:image/jpeg;base64,") for identifier in question.values()
        )
        (pair, left), (other_pair, right) = (key["pictures"][question[side]] for side in ("left", "right"))
        assert pair == other_pair
        sides.add((left, right))
    # Neither the sides nor the order of the pictures follow the methods.
    assert any(left > right for left, right in sides)
    assert any(left < right for left, right in sides)
    assert [key["pictures"].get(identifier) for identifier in content["images"]] != list(key["pictures"].values())


def test_the_seed_determines_the_page():
    assert page_and_key(1) == page_and_key(1)
    assert page_and_key(1)[0] != page_and_key(2)[0]


def answers_of(page, key, prefer):
    answers = []
    for question in content_of(page)["questions"]:
        left, right = question["left"], question["right"]
        chosen = min(left, right, key=lambda identifier: prefer.index(key["pictures"][identifier][1]))
        answers.append({"left": left, "right": right, "chosen": chosen})
    return {"ballot": key["ballot"], "answers": answers}


def test_answers_are_counted():
    page, key = page_and_key()
    answers = answers_of(page, key, ["beta", "gamma", "alpha"])
    methods, wins = ballot.count_wins(key, [answers, answers])
    assert methods == ["alpha", "beta", "gamma"]
    np.testing.assert_array_equal(wins, [[0, 0, 0], [4, 0, 4], [4, 0, 0]])
    lines = ballot.table(methods, wins).splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["beta", "gamma", "alpha"]
    assert lines[2].endswith("| 8 of 8 |")
    with pytest.raises(InputError, match="of another ballot"):
        ballot.count_wins(key, [{**answers, "ballot": "other"}])


def test_from_pictures_to_a_ranking(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(pairs.PHOTOS, "palace", pairs.Picture("jaxstyle", "data/china.jpg", ""))
    pair = "palace+starry_night"
    for seed, method in enumerate(("default", "strength-0.5")):
        path = pictures.path_of(tmp_path, 64, pair, method)
        path.parent.mkdir(parents=True, exist_ok=True)
        js.save_image(path, js.white_noise(seed, 43, 64))
    page, key, answers = (tmp_path / name for name in ("page.html", "page_key.json", "answers.json"))
    arguments = ["ballot", "make", "--pictures", str(tmp_path), "--size", "64", "--pairs", pair]
    arguments += ["--methods", "default", "strength-0.5", "--output", str(page)]
    assert dispatcher.main(arguments) == 0
    both = answers_of(page.read_text(), json.loads(key.read_text()), ["strength-0.5", "default"])
    answers.write_text(json.dumps(both))
    capsys.readouterr()
    assert dispatcher.main(["ballot", "rank", str(answers), "--key", str(key)]) == 0
    assert "| strength-0.5 | +" in capsys.readouterr().out
    answers.write_text("no JSON")
    assert dispatcher.main(["ballot", "rank", str(answers), "--key", str(key)]) == 2
    assert "is not JSON, expected a file of `ballot`" in capsys.readouterr().err
