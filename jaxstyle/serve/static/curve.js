/** The losses over the evaluations, on a logarithmic scale. */

import { make } from "./dom.js";
import { count, short } from "./words.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 110;
const LINES = ["total", "content", "style"];

/** @param {HTMLElement} root */
export function makeCurve(root) {
  const svg = document.createElementNS(NAMESPACE, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const paths = LINES.map((name) => {
    const path = document.createElementNS(NAMESPACE, "path");
    path.setAttribute("class", name);
    svg.append(path);
    return path;
  });
  const [top, bottom, left, right] = ["top", "bottom", "left", "right"].map((place) => make("span", { class: place }));
  const legend = make("p", { class: "legend" }, ...LINES.map((name) => make("span", { class: name }, name)));
  root.replaceChildren(make("h2", {}, "Loss"), make("div", { class: "plot", "aria-hidden": "false" }, svg, top, bottom, left, right), legend);

  /** @param {number[][]} rows Evaluation, total, content, style. */
  return function show(rows) {
    root.hidden = rows.length < 2;
    if (root.hidden) return;
    const values = rows.flatMap((row) => row.slice(1, 4)).filter((value) => value > 0);
    const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
    const [first, last] = [rows[0], rows[rows.length - 1]];
    const x = (evaluation) => ((evaluation - first[0]) / Math.max(1, last[0] - first[0])) * WIDTH;
    const y = (value) => HEIGHT - 2 - ((Math.log(value) - low) / Math.max(1e-9, high - low)) * (HEIGHT - 4);
    paths.forEach((path, column) => {
      const points = rows.filter((row) => row[column + 1] > 0)
        .map((row) => `${x(row[0]).toFixed(1)} ${y(row[column + 1]).toFixed(1)}`);
      path.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    });
    top.textContent = short2(Math.exp(high));
    bottom.textContent = short2(Math.exp(low));
    left.textContent = String(first[0]);
    right.textContent = count(last[0], "evaluation");
    svg.setAttribute("aria-label", `Total loss ${short(last[1])} after ${count(last[0], "evaluation")}; `
      + `at the start it was ${short(first[1])}.`);
  };
}

const short2 = (value) => (value >= 1e-3 && value < 1e4 ? String(Number(value.toPrecision(2))) : value.toExponential(0));
