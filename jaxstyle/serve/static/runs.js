/** The list of runs, with the place of those that wait. */

import { make } from "./dom.js";
import { stateOf } from "./words.js";

/** @param {HTMLElement} root */
export function makeRuns(root) {
  const list = make("ol", {});
  root.replaceChildren(make("h2", {}, "Runs"), list);

  /**
   * @param {any[]} runs
   * @param {string} place Address of the shown page.
   */
  return function show(runs, place) {
    const items = entries(runs);
    root.hidden = items.length === 0;
    // Elements stay where they are, with their focus: events come several times a second.
    while (list.children.length > items.length) list.lastElementChild.remove();
    items.forEach((item, index) => {
      const entry = list.children[index] ?? list.appendChild(make("li", {}, blank()));
      const link = entry.firstElementChild;
      const [image, text, bar] = link.children;
      if (link.getAttribute("href") !== `#${item.place}`) link.setAttribute("href", `#${item.place}`);
      if (image.getAttribute("src") !== item.image) image.src = item.image;
      if (text.textContent !== item.text) text.textContent = item.text;
      bar.hidden = item.fraction === null;
      bar.value = item.fraction ?? 0;
      if (item.place === place) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
  };
}

const blank = () => make("a", {}, make("img", { alt: "" }), make("span", {}), make("progress", { max: 1, "aria-hidden": "true" }));

/** In the server's order, the newest first; the cells of a sheet are one entry. */
function entries(runs) {
  const result = new Map();
  for (const run of runs) {
    if (!run.sweep) {
      const ended = ["finished", "stopped"].includes(run.state);
      result.set(run.id, {
        place: `run/${run.id}`,
        image: ended && run.picture ? `/api/runs/${run.id}/picture?version=${run.picture}&thumb=1` : `/api/runs/${run.id}/photo`,
        text: stateOf(run),
        fraction: ["running", "paused", "starting"].includes(run.state) ? run.fraction ?? 0 : null,
      });
      continue;
    }
    const cells = runs.filter((other) => other.sweep === run.sweep);
    const done = cells.filter((other) => ["finished", "stopped", "failed"].includes(other.state)).length;
    result.set(`sheet ${run.sweep}`, {
      place: `sheet/${run.sweep}`,
      image: `/api/runs/${run.id}/photo`,
      text: `Sheet, ${done} of ${cells.length} pictures`,
      fraction: done < cells.length ? done / cells.length : null,
    });
  }
  return [...result.values()];
}
