/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Record<string, any>} [properties] Functions become listeners of the event of that name; names with a hyphen,
 *   `role`, `for` and `class` become attributes; all others properties. Undefined and null ones are left out.
 * @param {...(Node | string)} children
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name.includes("-") || ["role", "for", "class", "list"].includes(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** @returns {any} The only element that matches. */
export const find = (selector, root = document) => root.querySelector(selector);

/** Show a text in an element, or hide the element if there is none. */
export function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}
