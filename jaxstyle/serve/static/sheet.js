/** A sheet of settings side by side. */

import { get, post } from "./api.js";
import { make, tell } from "./dom.js";
import { latest } from "./latest.js";
import { short, stateOf } from "./words.js";

/**
 * @param {HTMLElement} root
 * @param {Object} context
 * @param {any} context.options Answer of /api/options.
 * @param {(id: string) => any} context.runOf A run that the list knows.
 * @param {(place: string) => void} context.go
 */
export function makeSheet(root, { options, runOf, go }) {
  let sheet = null;
  const heading = make("h1", { tabIndex: -1 }, "Settings side by side");
  const text = make("p", { class: "quiet", "aria-live": "polite" });
  const error = make("p", { class: "bad", role: "alert", hidden: true });
  const table = make("table", {});
  root.replaceChildren(heading, text, error, make("div", { class: "scroll" }, table));

  const label = (name) => options.fields.find((field) => field.name === name)?.label ?? name;
  const show1 = (value) => (typeof value === "number" ? short(value) : String(value));

  const refresh = latest(async () => {
    const { id } = sheet;
    try {
      const next = await get(`/api/sweeps/${id}`);
      if (sheet.id === id) show({ ...next, id });
    } catch (failure) {
      tell(error, failure.message);
    }
  }, 300);

  function show(next) {
    const first = sheet.cells === undefined;
    sheet = next;
    if (first) build();
    sheet.cells.forEach((cell, index) => fill(table.querySelector(`[data-cell="${index}"]`), cell));
    const count = (state) => sheet.cells.filter((cell) => cell.state === state).length;
    const failed = count("failed") ? `, ${count("failed")} failed` : "";
    tell(text, `${count("finished")} of ${sheet.cells.length} pictures${failed}. Choose one to continue with its settings at full size.`);
  }

  function build() {
    const axes = Object.entries(sheet.axes);
    const [rowName, rowValues] = axes.length > 1 ? axes[0] : ["", [""]];
    const [columnName, columnValues] = axes.at(-1);
    const corner = axes.length > 1 ? `${label(rowName)} ↓  ${label(columnName)} →` : label(columnName);
    table.replaceChildren(
      make("thead", {}, make("tr", {}, make("th", { class: "corner" }, corner),
        ...columnValues.map((value) => make("th", { scope: "col" }, show1(value))))),
      make("tbody", {}, ...rowValues.map((value) => make("tr", {},
        make("th", { scope: "row" }, show1(value)),
        ...columnValues.map((other) => make("td", {}, blank({ [rowName]: value, [columnName]: other })))))));
  }

  function blank(values) {
    const index = sheet.cells.findIndex(({ settings }) =>
      Object.entries(values).every(([name, value]) => name === "" || String(settings[name]) === String(value)));
    const button = make("button", { type: "button", click: () => choose(sheet.cells[index]) },
      make("img", { alt: "", hidden: true }), make("span", {}));
    button.dataset.cell = String(index);
    return button;
  }

  function fill(button, cell) {
    const [image, words] = button.children;
    const run = runOf(cell.run) ?? cell;
    const version = run.picture ?? (cell.state === "finished" ? 1 : 0);
    if (version) {
      const source = `/api/runs/${cell.run}/picture?version=${version}`;
      if (image.getAttribute("src") !== source) image.src = source;
      image.hidden = false;
    }
    const state = cell.state === "finished" ? "" : run.error ? `${stateOf(run)}: ${run.error}` : stateOf(run);
    tell(words, state);
    const values = Object.entries(axesOf(cell)).map(([name, value]) => `${label(name)} ${show1(value)}`).join(", ");
    button.setAttribute("aria-label", `Continue with ${values}${state ? ` (${state})` : ""}`);
  }

  const axesOf = (cell) => Object.fromEntries(Object.keys(sheet.axes).map((name) => [name, cell.settings[name]]));

  async function choose(cell) {
    tell(error, "");
    try {
      const { photo, paintings, mask = null, settings } = sheet;
      const { id } = await post("/api/runs", { photo, paintings, mask, settings: { ...settings, ...axesOf(cell) }, start: null });
      go(`run/${id}`);
    } catch (failure) {
      tell(error, failure.message);
    }
  }

  return {
    open(id) {
      if (sheet?.id !== id) {
        sheet = { id };
        table.replaceChildren();
        tell(error, "");
      }
      refresh();
    },
    update: (run) => { if (sheet && run.sweep === sheet.id) refresh(); },
    refresh: () => { if (sheet) refresh(); },
  };
}
