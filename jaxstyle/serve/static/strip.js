/** Earlier pictures of a run: look at one, and continue from it. */

import { make } from "./dom.js";
import { count } from "./words.js";

/**
 * @param {HTMLElement} root
 * @param {Object} handlers
 * @param {(snapshot: any | null) => void} handlers.look Null: the present picture.
 * @param {(snapshot: any) => void} handlers.back
 * @param {(snapshot: any) => void} handlers.branch
 */
export function makeStrip(root, { look, back, branch }) {
  let selected = null;
  let shown = "";

  const list = make("ol", {});
  const text = make("span", {});
  const actions = make("div", { class: "buttons", hidden: true }, text,
    make("button", { type: "button", class: "primary", click: () => { const from = selected; select(null); back(from); } },
      "Continue from here"),
    make("button", { type: "button", click: () => branch(selected) }, "New picture from here"),
    make("button", { type: "button", click: () => select(null) }, "Back to the present picture"));
  root.replaceChildren(list, actions);

  function select(snapshot) {
    selected = snapshot;
    actions.hidden = !snapshot;
    if (snapshot) text.textContent = `Evaluation ${snapshot.evaluation}`;
    for (const button of list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.snapshot === String(snapshot?.id)));
    }
    look(snapshot);
  }

  return {
    show(run) {
      const snapshots = run.snapshots ?? [];
      root.hidden = snapshots.length === 0;
      const key = run.id + snapshots.map((snapshot) => snapshot.id).join();
      if (key === shown) return;
      shown = key;
      const atEnd = list.scrollLeft + list.clientWidth >= list.scrollWidth - 20;
      const buttons = new Map([...list.querySelectorAll("button")].map((button) => [button.dataset.source, button]));
      list.replaceChildren(...snapshots.map((snapshot) => make("li", {},
        buttons.get(address(run, snapshot)) ?? thumbnail(run, snapshot))));
      if (atEnd) list.scrollLeft = list.scrollWidth;
    },
    get selected() { return selected; },
    reset: () => { if (selected) select(null); },
  };

  function thumbnail(run, snapshot) {
    const source = address(run, snapshot);
    const button = make("button", { type: "button", "aria-pressed": "false", click: () => select(snapshot) },
      make("img", { src: `${source}?thumb=1`, alt: `After ${count(snapshot.evaluation, "evaluation")}`, loading: "lazy" }),
      make("span", { "aria-hidden": "true" }, String(snapshot.evaluation)));
    button.dataset.snapshot = String(snapshot.id);
    button.dataset.source = source;
    return button;
  }
}

export const address = (run, snapshot) => `/api/runs/${run.id}/snapshots/${snapshot.id}`;
