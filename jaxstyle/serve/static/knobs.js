/** Sliders that change a run while it works. */

import { post } from "./api.js";
import { make, tell } from "./dom.js";
import { control } from "./fields.js";
import { latest } from "./latest.js";

/** Milliseconds that a slider rests before its value is sent. */
const REST = 120;

/**
 * @param {HTMLElement} root
 * @param {import("./fields.js").Field[]} fields
 */
export function makeKnobs(root, fields) {
  let id = "";
  const controls = new Map();
  /** Values that the user has chosen and the server has not confirmed. */
  let pending = {};

  const error = make("p", { class: "bad", role: "alert", hidden: true });
  const send = latest(async () => {
    const values = pending;
    try {
      const run = await post(`/api/runs/${id}/change`, values);
      tell(error, "");
      if (pending === values) {
        pending = {};
        show(run);
      }
    } catch (failure) {
      if (pending === values) pending = {};
      tell(error, failure.message);
    }
  }, REST);

  for (const field of fields.filter((other) => other.live === "instant" || other.live === "targets")) {
    const note = field.live === "targets" ? "Needs new targets, which takes a moment." : "";
    const made = control(field, () => {
      const value = made.get();
      if (value === null || made.element.querySelector(":invalid")) return;
      pending = { ...pending, [field.name]: value };
      send();
    }, note);
    controls.set(field.name, made);
  }
  const elements = (group) => fields.filter((field) => controls.has(field.name) && field.group === group)
    .map((field) => controls.get(field.name).element);
  root.replaceChildren(make("h2", {}, "Turn while it paints"), ...elements("main"), error,
    make("details", {}, make("summary", {}, "More"), ...elements("more")));

  function show(run) {
    const live = run.live ?? {};
    const active = ["starting", "running", "paused"].includes(run.state) && Object.keys(live).length > 0;
    root.hidden = !active;
    if (run.id !== id) {
      id = run.id;
      pending = {};
      tell(error, "");
    }
    for (const [name, made] of controls) {
      made.element.hidden = !(name in live);
      if (name in live && !(name in pending) && made.get() !== live[name]) made.set(live[name]);
    }
  }
  return show;
}
