/** The form of settings. */

import { control } from "./fields.js";
import { find } from "./dom.js";

const SIZES = [256, 384, 512, 768, 1024];

/**
 * @param {HTMLElement} root
 * @param {any} options Answer of /api/options.
 * @param {() => void} changed
 */
export function makeForm(root, options, changed) {
  /** @type {Map<string, import("./fields.js").Control>} */
  const controls = new Map();
  for (const field of options.fields) {
    const made = control(field, () => change(field.name));
    controls.set(field.name, made);
    find(`#${field.group}-fields`, root).append(made.element);
  }
  addSizes(controls.get("size"));

  const preset = () => controls.get("preset")?.get() ?? "default";

  /** Defaults of all fields, those of the chosen preset. */
  function defaults() {
    const own = Object.fromEntries(options.fields.map((field) => [field.name, field.default]));
    return { ...own, ...options.presets?.[preset()], preset: preset() };
  }

  function change(name) {
    if (name === "preset" && options.presets) {
      const { size: _size, ...others } = defaults();
      set(others);
    }
    changed();
  }

  function set(values) {
    for (const [name, value] of Object.entries(values)) controls.get(name)?.set(value);
  }

  return {
    /** Size and preset, and each setting that differs from the preset's. */
    values() {
      const usual = defaults();
      const values = {};
      for (const [name, made] of controls) {
        const value = made.get();
        if (value !== null && (["size", "preset"].includes(name) || !same(value, usual[name]))) values[name] = value;
      }
      return values;
    },

    /** Show other settings; those that are not given get their defaults. */
    load(settings) {
      controls.get("preset")?.set(settings.preset ?? null);
      set({ ...defaults(), ...settings });
      changed();
    },
  };
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b) || String(a) === String(b ?? "");

/** Usual sizes, one click each, below the number. */
function addSizes(made) {
  if (!made) return;
  const input = find("input", made.element);
  const row = document.createElement("div");
  row.className = "chips";
  for (const size of SIZES) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = String(size);
    button.setAttribute("aria-label", `${size} pixels`);
    button.addEventListener("click", () => {
      made.set(size);
      input.dispatchEvent(new Event("input"));
    });
    row.append(button);
  }
  find("div", made.element).append(row);
}
