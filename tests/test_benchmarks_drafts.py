import PIL.Image
import pytest

import jaxstyle as js
from benchmarks import drafts, record


def test_every_method_is_compared_with_float32(tmp_path, tiny_params, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(drafts.js, "load_params", lambda: tiny_params)
    for name, color in (("content_a", "red"), ("style_b", "navy")):
        image = PIL.Image.effect_noise((48, 40), 80).convert("RGB")
        PIL.Image.blend(image, PIL.Image.new("RGB", image.size, color), 0.4).save(tmp_path / f"{name}.jpg")
    drafts.main(["--images", str(tmp_path), "--pairs", "a+b", "--sizes", "48", "--steps", "8"])
    result = record.read("drafts")
    assert [run["method"] for run in result["runs"]] == list(drafts.METHODS)
    exact, rounded, drafted = (run["loss"] for run in result["runs"])
    assert exact > 0
    # Rounded, so not the same; the last evaluation of a draft is an exact one.
    assert exact != rounded != drafted
    assert max(rounded, drafted) < 1.5 * exact
    assert f"| 48 | a+b | {exact:,.0f} | {rounded / exact:.3f} | {drafted / exact:.3f} |" in drafts.table(result)


def test_images_are_needed():
    with pytest.raises(js.InputError, match="no images"):
        drafts.main([])


def test_the_committed_table_is_that_of_the_json_and_the_readmes():
    table = drafts.table(record.read("drafts"))
    assert (record.RESULTS / "drafts.md").read_text() == table
    assert table.strip() in (record.RESULTS.parent / "README.md").read_text()
