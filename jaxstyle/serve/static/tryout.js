/** The form of a sheet: one or two settings with several values each. */

import { find, make, tell } from "./dom.js";

const USUAL = { strength: "0.3, 0.5, 0.7", style_scale: "0.5, 1, 2" };

/**
 * @param {HTMLElement} root
 * @param {any} options Answer of /api/options.
 * @param {(sheet: {axes: Record<string, any[]>, size: number}) => Promise<void>} begin
 */
export function makeTryOut(root, options, begin) {
  const names = options.axes ?? options.fields
    .filter(({ type, group, name }) => ["number", "integer"].includes(type) && group === "main" && name !== "size")
    .map(({ name }) => name);
  const fields = names.map((name) => options.fields.find((field) => field.name === name)).filter(Boolean);
  const rows = [axis("Rows", "strength"), axis("Columns", "style_scale")];
  const size = make("input", { type: "number", min: 32, step: 1, value: 192 });
  const error = make("p", { class: "bad", role: "alert", hidden: true });
  const button = make("button", { type: "button", click: submit }, "Make a sheet");
  root.append(
    make("p", { class: "help" }, "Small pictures with different settings. Click one to continue with it at full size."),
    ...rows.map((row) => row.element),
    make("label", { class: "pair" }, "Long side in pixels", size), button, error);

  function axis(title, usual) {
    const choices = [make("option", { value: "" }, "nothing"),
      ...fields.map((field) => make("option", { value: field.name }, field.label))];
    const select = make("select", { "aria-label": `${title}: setting`, change: suggest }, ...choices);
    const values = make("input", { type: "text", autocomplete: "off", "aria-label": `${title}: values with commas` });
    select.value = fields.some((field) => field.name === usual) ? usual : "";
    function suggest() {
      values.value = USUAL[select.value] ?? guess(fields.find((field) => field.name === select.value));
      values.disabled = !select.value;
    }
    suggest();
    return { element: make("div", { class: "axis" }, make("span", {}, title), select, values), select, values };
  }

  async function submit() {
    tell(error, "");
    button.disabled = true;
    try {
      const axes = {};
      for (const { select, values } of rows) {
        if (!select.value) continue;
        if (select.value in axes) throw new Error("Rows and columns vary the same setting: choose two different ones.");
        axes[select.value] = parse(values.value, fields.find((field) => field.name === select.value));
      }
      if (!Object.keys(axes).length) throw new Error("Choose a setting to vary.");
      await begin({ axes, size: Number(size.value) });
    } catch (failure) {
      tell(error, failure.message);
      find("select, input", root)?.focus();
    }
    button.disabled = false;
  }
}

function parse(text, field) {
  const values = text.split(",").map((part) => part.trim()).filter(Boolean);
  if (!values.length) throw new Error(`${field.label} has no values, expected some with commas, such as 0.3, 0.5, 0.7.`);
  if (!["number", "integer"].includes(field.type)) return values;
  return values.map((value) => {
    if (Number.isNaN(Number(value))) throw new Error(`${field.label} has the value ${value}, expected a number.`);
    return Number(value);
  });
}

/** Values to begin with. */
function guess(field) {
  if (!field) return "";
  if (field.type === "choice") return field.choices.slice(0, 3).join(", ");
  if (Number.isFinite(field.min) && Number.isFinite(field.max) && field.max - field.min <= 10) {
    return [0.25, 0.5, 0.75].map((part) => field.min + part * (field.max - field.min)).join(", ");
  }
  return field.default ? [0.5, 1, 2].map((factor) => factor * field.default).join(", ") : "";
}
