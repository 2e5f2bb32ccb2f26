/** Controls for the fields of the settings, which the server describes. */

import { make } from "./dom.js";
import { short } from "./words.js";

/**
 * @typedef {Object} Field
 * @property {string} name
 * @property {string} label
 * @property {string} help
 * @property {"number" | "integer" | "choice" | "boolean" | "text"} type
 * @property {any} default
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [step]
 * @property {string[]} [choices]
 * @property {string} [unset] Meaning of a default that is null.
 * @property {"main" | "more"} group
 * @property {"instant" | "targets" | "restart"} live
 */

/**
 * @typedef {Object} Control
 * @property {HTMLElement} element
 * @property {() => any} get Value; null stands for the default.
 * @property {(value: any) => void} set
 */

let controls = 0;

/**
 * @param {Field} field
 * @param {() => void} changed
 * @param {string} [note] Shown instead of the help.
 * @returns {Control}
 */
export function control(field, changed, note) {
  const id = `control-${(controls += 1)}`;
  const kinds = { choice, boolean, text, number: numeric, integer: numeric };
  const { element, get, set } = kinds[field.type](field, id, changed);
  const [first, rest] = note === undefined ? sentences(field.help) : [note, ""];
  const help = rest
    ? make("details", { class: "help", id: `${id}-help` }, make("summary", {}, first), rest)
    : make("p", { class: "help", id: `${id}-help` }, first);
  for (const input of element.querySelectorAll("input, select")) {
    if (first) input.setAttribute("aria-describedby", help.id);
  }
  const label = make("label", { for: id }, field.label);
  const box = make("div", { class: `field ${field.type}` }, label, element, ...(first ? [help] : []));
  box.dataset.field = field.name;
  return { element: box, get, set };
}

/** First sentence, and the rest. */
function sentences(text) {
  const end = text.search(/\.\s/);
  return end < 0 ? [text, ""] : [text.slice(0, end + 1), text.slice(end + 2).trim()];
}

function choice(field, id, changed) {
  const options = field.choices.map((name) => make("option", { value: name }, name));
  const select = make("select", { id, change: changed }, ...options);
  const set = (value) => (select.value = value ?? field.default);
  set(null);
  return { element: make("div", {}, select), get: () => select.value, set };
}

function boolean(field, id, changed) {
  const input = make("input", { id, type: "checkbox", change: changed });
  const set = (value) => (input.checked = value ?? field.default);
  set(null);
  return { element: make("div", {}, input), get: () => input.checked, set };
}

function text(field, id, changed) {
  const input = make("input", { id, type: "text", placeholder: field.unset ?? "", autocomplete: "off", input: changed });
  // Several values, such as layers, are words of one line.
  const words = (value) => (Array.isArray(value) ? value.join(" ") : String(value));
  const set = (value) => (input.value = words((value?.length === 0 ? null : value) ?? field.default ?? ""));
  set(null);
  return { element: make("div", {}, input), get: () => input.value.trim() || null, set };
}

/** A number, with a slider beside it where the range is known and small enough to be felt. */
function numeric(field, id, changed) {
  const { min, max, step = field.type === "integer" ? 1 : "any" } = field;
  const box = make("input", { id, type: "number", min, max, step: "any", placeholder: field.unset ?? "", input: typed });
  const slider = hasSlider(field)
    ? make("input", { type: "range", min, max, step, "aria-label": field.label, input: slid })
    : null;

  function typed() {
    if (slider && box.value) slider.value = box.value;
    changed();
  }
  function slid() {
    box.value = short(Number(slider.value));
    changed();
  }
  function set(value) {
    const number = value ?? field.default;
    box.value = number === null || number === undefined ? "" : short6(number);
    if (slider) slider.value = number ?? (min + max) / 2;
  }

  set(null);
  const element = make("div", { class: slider ? "slider" : "" }, ...(slider ? [slider] : []), box);
  return { element, get: () => (box.value === "" ? null : Number(box.value)), set };
}

/** @param {Field} field */
function hasSlider({ type, min, max, group }) {
  return type === "number" && group === "main" && Number.isFinite(min) && Number.isFinite(max) && max - min <= 100;
}

const short6 = (number) => String(Number(Number(number).toPrecision(6)));
