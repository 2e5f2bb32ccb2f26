/** The page that starts a picture. */

import { post, sentence, upload } from "./api.js";
import { find, make, tell } from "./dom.js";
import { makeForm } from "./form.js";
import { latest } from "./latest.js";
import { makeSlot } from "./slots.js";
import { makeTryOut } from "./tryout.js";

/**
 * @param {HTMLElement} root
 * @param {any} options Answer of /api/options.
 * @param {(place: string) => void} go
 */
export function makeStart(root, options, go) {
  const button = find("button[type=submit]", root);
  const plan = find("#plan", root);
  const error = find("#start-error", root);
  const from = find("#start-from", root);
  const recipeStatus = find("#recipe-status", root);
  /** Earlier picture of a run to start from. */
  let start = null;

  const { bytes } = options.limits;
  const changed = () => {
    button.disabled = photo.isEmpty() || paintings.isEmpty();
    tell(error, "");
    estimate();
  };
  const uploaded = (picture) => { if (picture.recipe) useRecipe(picture.recipe, picture.name); };
  const common = { bytes, changed, uploaded };
  const photo = makeSlot({ ...common, kind: "photo", title: "Photo", hint: "Drop a photo here, or choose one",
    bundled: options.bundled.photo });
  const paintings = makeSlot({ ...common, kind: "painting", title: "Painting", hint: "Drop a painting here, or choose one",
    several: true, bundled: options.bundled.painting });
  const mask = makeSlot({ ...common, kind: "mask", title: "Mask (optional)",
    hint: "White gets the style, black stays as in the photo" });
  find(".slots", root).append(photo.element, make("div", {}, paintings.element, mask.element));

  const form = makeForm(root, options, changed);
  const request = () => ({ photo: photo.ids()[0], paintings: paintings.ids(), mask: mask.ids()[0] ?? null,
    settings: form.values() });
  const ready = () => !photo.isEmpty() && !paintings.isEmpty();

  const estimate = latest(async () => {
    if (!ready()) {
      plan.className = "";
      tell(plan, photo.isEmpty() && paintings.isEmpty() ? "Choose a photo and a painting."
        : photo.isEmpty() ? "Choose a photo." : "Choose a painting.");
      return;
    }
    if (plan.textContent.startsWith("Choose")) tell(plan, "Estimating memory and time …");
    try {
      const answer = await post("/api/plan", request());
      plan.className = answer.fits ? "" : "bad";
      tell(plan, sentence(answer.text));
    } catch (failure) {
      plan.className = "bad";
      tell(plan, failure.message);
    }
  }, 200);

  find("form", root).addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!ready()) return;
    button.disabled = true;
    tell(error, "");
    try {
      const { id } = await post("/api/runs", { ...request(), start });
      setStart(null);
      go(`run/${id}`);
    } catch (failure) {
      tell(error, failure.message);
    }
    button.disabled = false;
  });

  makeTryOut(find("#try-out", root), options, async (sheet) => {
    if (!ready()) throw new Error("Choose a photo and a painting first.");
    const { id } = await post("/api/sweeps", { ...request(), ...sheet });
    go(`sheet/${id}`);
  });

  find("#reset", root).addEventListener("click", () => {
    form.load({});
    tell(recipeStatus, "All settings are the usual ones.");
  });
  const recipeFile = find("#recipe-file", root);
  recipeFile.addEventListener("change", async () => {
    await drop([...recipeFile.files], true);
    recipeFile.value = "";
  });

  function useRecipe(recipe, name) {
    form.load(recipe.settings);
    tell(recipeStatus, `The settings of ${name} are loaded.`);
  }

  function setStart(next, text) {
    start = next;
    from.hidden = !next;
    if (next) {
      from.replaceChildren(text, " ", make("button", { type: "button", class: "link", click: () => setStart(null) },
        "Start from the photo instead"));
    }
  }

  /** Take files that were dropped beside the places for them: pictures of ours give settings, others fill the places. */
  async function drop(files, onlyRecipe = false) {
    tell(recipeStatus, "");
    for (const file of files) {
      try {
        const kind = photo.isEmpty() ? "photo" : "painting";
        const picture = { ...(await upload(file, kind, bytes)), name: file.name };
        if (picture.recipe) useRecipe(picture.recipe, picture.name);
        else if (onlyRecipe) tell(recipeStatus, `${file.name} holds no settings: it was not made by jaxstyle.`);
        else (kind === "photo" ? photo : paintings).append(picture);
      } catch (failure) {
        tell(recipeStatus, `${file.name}: ${failure.message}`);
      }
    }
  }

  changed();
  return {
    drop,
    /** Fill the form. */
    load({ settings, photo: content, paintings: styles, mask: guide, start: next = null, text = "" }) {
      const named = (id, name) => ({ id, name });
      if (content) photo.set([named(content, "photo")]);
      if (styles?.length) paintings.set(styles.map((id, index) => named(id, `painting ${index + 1}`)));
      mask.set(guide ? [named(guide, "mask")] : []);
      form.load(settings);
      setStart(next, text);
    },
  };
}
