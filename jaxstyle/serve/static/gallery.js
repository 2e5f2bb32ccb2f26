/** The pictures that are finished, also those of earlier days. */

import { get, sentence } from "./api.js";
import { find, make, tell } from "./dom.js";
import { makeViewer } from "./viewer.js";

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
/** @param {number} time Seconds since 1970. */
const date = (time) => dates.format(new Date(time * 1000));

/** @param {HTMLElement} root */
export function makeGallery(root) {
  const list = make("ul", { class: "thumbs" });
  const text = make("p", { class: "quiet" });
  root.replaceChildren(make("h1", { tabIndex: -1 }, "Gallery"), text, list);

  return async function open() {
    try {
      const pictures = await get("/api/gallery");
      tell(text, pictures.length ? "" : "Nothing here yet. Finished pictures are kept here.");
      list.replaceChildren(...pictures.map(({ id, width, height, time }) => make("li", {},
        make("a", { href: `#kept/${id}` },
          make("img", { src: `/api/gallery/${id}/thumb`, alt: `Picture of ${date(time)}`, loading: "lazy" }),
          make("span", { "aria-hidden": "true" }, `${width}x${height}, ${date(time)}`)))));
    } catch (failure) {
      tell(text, failure.message);
    }
  };
}

/**
 * @param {HTMLElement} root
 * @param {(request: any) => void} begin Fill the start page.
 */
export function makeKept(root, begin) {
  const viewer = makeViewer(find(".viewer", root));
  const panel = find(".panel", root);

  return async function open(id) {
    panel.replaceChildren();
    try {
      const [pictures, recipe] = await Promise.all([get("/api/gallery"), get(`/api/gallery/${id}/recipe`)]);
      const picture = pictures.find((other) => String(other.id) === id);
      if (!picture) throw new Error("This picture is no longer in the gallery.");
      viewer.setSize(picture.width, picture.height);
      viewer.setBefore("");
      viewer.show(`/api/gallery/${id}/picture`, `Picture of ${date(picture.time)}`);
      const facts = Object.entries(recipe.settings ?? {})
        .filter(([, value]) => value !== null && typeof value !== "object")
        .flatMap(([name, value]) => [make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, String(value))]);
      panel.replaceChildren(
        make("h1", { tabIndex: -1 }, date(picture.time)),
        make("p", { class: "quiet" }, `${picture.width}x${picture.height} pixels`),
        make("p", { class: "buttons" },
          make("button", { type: "button", class: "primary", click: () => begin({ settings: recipe.settings ?? {} }) },
            "Use these settings"),
          make("a", { class: "button", href: `/api/gallery/${id}/picture`, download: "" }, "Download"),
          make("a", { class: "button", href: "#gallery" }, "Back to the gallery")),
        make("details", { open: true }, make("summary", {}, "Settings"), make("dl", {}, ...facts)));
      find("h1", panel).focus();
    } catch (failure) {
      panel.replaceChildren(make("p", { class: "bad", role: "alert" }, sentence(failure.message)),
        make("a", { class: "button", href: "#gallery" }, "Back to the gallery"));
    }
  };
}
