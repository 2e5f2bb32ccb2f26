/** The large picture: zoom to its pixels, pan, and wipe between before and after. */

import { make } from "./dom.js";
import { latest, wait } from "./latest.js";

const LEVELS = [0.25, 0.5, 1, 2, 4, 8];
/** Milliseconds between two fetches. */
const PAUSE = 333;

/** @param {HTMLElement} root */
export function makeViewer(root) {
  /** Screen pixels per pixel of the picture; null fits the picture into the window. */
  let zoom = null;
  let size = { width: 1, height: 1 };

  const picture = make("img", { class: "picture", alt: "", hidden: true, draggable: false });
  const before = make("img", { class: "before", alt: "", hidden: true, draggable: false });
  const wipe = make("input", { type: "range", class: "wipe", min: 0, max: 100, step: 1, value: 50, hidden: true,
    "aria-label": "Before and after: share of the photo", input: showWipe });
  const frame = make("div", { class: "frame" }, picture, before, wipe);
  const canvas = make("div", { class: "canvas", tabIndex: 0, role: "group", "aria-label": "Picture; plus and minus zoom" },
    frame);
  const level = make("output", { "aria-label": "Zoom" });
  const fit = make("button", { type: "button", click: () => zoomTo(null) }, "Fit");
  const pixels = make("button", { type: "button", click: () => zoomTo(1), "aria-label": "Zoom to pixels" }, "1:1");
  const compare = make("button", { type: "button", "aria-pressed": "false", click: toggleCompare }, "Before / after");
  const toolbar = make("div", { class: "toolbar", role: "toolbar", "aria-label": "View" }, fit, pixels,
    make("button", { type: "button", "aria-label": "Zoom out", click: () => step(-1) }, "−"),
    make("button", { type: "button", "aria-label": "Zoom in", click: () => step(1) }, "+"),
    level, compare);
  root.replaceChildren(canvas, toolbar);

  const ratio = () => devicePixelRatio || 1;
  const fitted = () => (frame.clientWidth / size.width) * ratio();

  function zoomTo(next, at = { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 }) {
    const scale = (next ?? 0) / (zoom ?? fitted());
    const left = (canvas.scrollLeft + at.x) * scale - at.x;
    const top = (canvas.scrollTop + at.y) * scale - at.y;
    zoom = next;
    layOut();
    canvas.scrollTo(left, top);
    load();
  }

  function step(direction) {
    const current = zoom ?? fitted();
    const next = direction > 0
      ? LEVELS.find((other) => other > current * 1.01)
      : LEVELS.findLast((other) => other < current * 0.99);
    if (next) zoomTo(next);
  }

  function layOut() {
    canvas.style.setProperty("--ratio", String(size.width / size.height));
    frame.style.setProperty("--width", `${(size.width * (zoom ?? 1)) / ratio()}px`);
    canvas.classList.toggle("zoomed", zoom !== null);
    // Enlarged pixels are shown as squares: whoever zooms in wants to see them.
    frame.classList.toggle("pixels", zoom !== null && zoom > 1);
    fit.setAttribute("aria-pressed", String(zoom === null));
    pixels.setAttribute("aria-pressed", String(zoom === 1));
    level.textContent = `${Math.round((zoom ?? fitted()) * 100)} %`;
  }

  function toggleCompare() {
    const on = compare.getAttribute("aria-pressed") === "false";
    compare.setAttribute("aria-pressed", String(on));
    before.hidden = wipe.hidden = !on;
    if (on) wipe.focus();
    showWipe();
  }

  function showWipe() {
    frame.style.setProperty("--wipe", `${wipe.value}%`);
    wipe.setAttribute("aria-valuetext", `${wipe.value} % photo`);
  }

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { "+": () => step(1), "=": () => step(1), "-": () => step(-1), 0: () => zoomTo(null), 1: () => zoomTo(1) };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  canvas.addEventListener("dblclick", (event) => {
    if (!wipe.hidden) return;
    const box = canvas.getBoundingClientRect();
    zoomTo(zoom === null ? Math.max(1, 2 * Math.ceil(fitted())) : null, { x: event.clientX - box.x, y: event.clientY - box.y });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons === 1 && event.pointerType === "mouse" && wipe.hidden) {
      canvas.scrollBy(-event.movementX, -event.movementY);
    }
  });
  new ResizeObserver(layOut).observe(canvas);

  /** Address and text of the picture that should be shown; it is fetched while the page is visible. */
  let wanted = { source: "", alt: "" };
  let current = "";

  const load = latest(async () => {
    // Large pictures arrive reduced, unless somebody looks at their pixels.
    const source = wanted.source && zoom !== null ? `${wanted.source}${wanted.source.includes("?") ? "&" : "?"}full=1` : wanted.source;
    const { alt } = wanted;
    if (!source || source === current || document.hidden) return;
    const image = new Image();
    image.src = source;
    try {
      await image.decode();
    } catch {
      return;  // Gone meanwhile, or the server has ended: the next version follows.
    }
    if (!sameRun(source, wanted.source)) return load();
    current = source;
    picture.src = image.src;
    picture.alt = alt;
    picture.hidden = false;
    picture.dataset.source = source;
    await wait(PAUSE);
  });
  document.addEventListener("visibilitychange", () => load());

  layOut();
  return {
    /** Show a picture, keeping the one before until it has arrived. */
    show(source, alt) {
      if (!sameRun(source, wanted.source)) {
        picture.hidden = true;
        current = "";
      }
      wanted = { source, alt };
      load();
    },
    /** Size in pixels of the finished picture. */
    setSize(width, height) {
      if (!width || !height || (width === size.width && height === size.height)) return;
      size = { width, height };
      layOut();
    },
    /** Picture to compare with; none hides the comparison. */
    setBefore(source) {
      compare.hidden = !source;
      if (!source) before.hidden = wipe.hidden = true;
      else if (before.getAttribute("src") !== source) before.src = source;
    },
  };
}

/** Versions of the same picture have the same path. */
const sameRun = (a, b) => owner(a) === owner(b);
const owner = (source) => source.split("/").slice(0, 4).join("/");
