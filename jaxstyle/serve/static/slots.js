/** Places for the photo, the paintings and the mask: choose, drop, or take a bundled picture. */

import { upload } from "./api.js";
import { find, make, tell } from "./dom.js";

/**
 * @typedef {Object} Picture
 * @property {string} id
 * @property {number} [width]
 * @property {number} [height]
 * @property {any} [recipe]
 * @property {string} [name] Name of the file, for the user.
 */

/**
 * @param {Object} place
 * @param {"photo" | "painting" | "mask"} place.kind
 * @param {string} place.title
 * @param {string} place.hint
 * @param {boolean} [place.several]
 * @param {Picture} [place.bundled]
 * @param {number} place.bytes Most bytes of a file.
 * @param {() => void} place.changed
 * @param {(picture: Picture) => void} place.uploaded
 */
export function makeSlot({ kind, title, hint, several = false, bundled, bytes, changed, uploaded }) {
  /** @type {Picture[]} */
  let pictures = [];

  const input = make("input", {
    type: "file", class: "visually-hidden", accept: "image/*,.heic,.heif,.tif,.tiff,.ppm,.jp2", multiple: several,
    "aria-label": `Choose ${several ? `${kind}s` : `a ${kind}`}`,
    change: () => add(input.files).then(() => (input.value = "")),
  });
  const shown = make("div", { class: "pictures" });
  const text = make("span", {});
  const drop = make("label", { class: "drop" }, input, text);
  const error = make("p", { class: "bad", role: "alert", hidden: true });
  const take = make("button", { type: "button", class: "bundled", click: () => set([bundled]) });
  if (bundled) take.append(make("img", { src: `/api/pictures/${bundled.id}/thumb`, alt: "" }), `Use the bundled ${kind}`);
  const element = make("section", { class: `slot ${kind}`, "aria-label": title }, make("h2", {}, title), shown, drop,
    ...(bundled ? [take] : []), error);

  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.remove("over");
    add(event.dataTransfer.files);
  });

  async function add(files) {
    tell(error, "");
    for (const file of several ? files : [...files].slice(0, 1)) {
      element.classList.add("busy");
      try {
        const picture = { ...(await upload(file, kind, bytes)), name: file.name };
        append(picture);
        uploaded(picture);
      } catch (failure) {
        tell(error, `${file.name}: ${failure.message}`);
      } finally {
        element.classList.remove("busy");
      }
    }
  }

  const append = (picture) => set(several ? [...pictures, picture] : [picture]);

  function set(next) {
    pictures = next;
    show();
    changed();
  }

  function show() {
    tell(error, "");
    element.classList.toggle("filled", pictures.length > 0);
    text.textContent = pictures.length ? (several ? "Add another" : "Choose another") : hint;
    take.hidden = pictures.length > 0;
    shown.replaceChildren(...pictures.map((picture) => {
      const name = picture.name ?? `bundled ${kind}`;
      return make("figure", {},
        make("img", { src: `/api/pictures/${picture.id}/thumb`, alt: name }),
        make("figcaption", {}, picture.width ? `${name}, ${picture.width}x${picture.height} ` : `${name} `,
          make("button", {
            type: "button", class: "link", "aria-label": `Remove ${name}`,
            click: () => { set(pictures.filter((other) => other !== picture)); find("input", element).focus(); },
          }, "Remove")));
    }));
  }

  show();
  return { element, set, append, ids: () => pictures.map((picture) => picture.id), isEmpty: () => !pictures.length };
}
