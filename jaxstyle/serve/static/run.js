/** The page of one run. */

import { get, post, remove, sentence } from "./api.js";
import { makeCurve } from "./curve.js";
import { find, make, tell } from "./dom.js";
import { makeKnobs } from "./knobs.js";
import { address, makeStrip } from "./strip.js";
import { makeViewer } from "./viewer.js";
import { count, duration, stateOf } from "./words.js";

const SIZES = [128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096];
/** States in which each button works. */
const STATES = {
  pause: ["starting", "running"],
  resume: ["paused"],
  stop: ["starting", "running", "paused"],
  remove: ["queued"],
};
const ENDED = ["finished", "stopped"];

/**
 * @param {HTMLElement} root
 * @param {Object} context
 * @param {any} context.options Answer of /api/options.
 * @param {(place: string) => void} context.go
 * @param {(request: any) => void} context.begin Fill the start page.
 */
export function makeRunView(root, { options, go, begin }) {
  /** @type {any} */
  let run = null;
  let rows = [];

  const state = find("#run-state", root);
  const error = find("#run-error", root);
  const viewer = makeViewer(find(".viewer", root));
  const curve = makeCurve(find("#curve", root));
  const knobs = makeKnobs(find("#knobs", root), options.fields);
  const strip = makeStrip(find(".strip", root), {
    look: () => showPicture(),
    back: (snapshot) => act("back", { snapshot: snapshot.id }),
    branch: (snapshot) => begin({ ...run, start: { run: run.id, snapshot: snapshot.id },
      text: `Starts from evaluation ${snapshot.evaluation} of an earlier picture.` }),
  });

  /** Do something with the run; show what came of it. */
  async function act(name, body) {
    tell(error, "");
    try {
      if (name === "remove") {
        await remove(`/api/runs/${run.id}`);
        go("new");
        return;
      }
      const next = await post(`/api/runs/${run.id}/${name}`, body);
      if (next.id && next.id !== run.id) go(`run/${next.id}`);
      else await refresh();
    } catch (failure) {
      tell(error, failure.message);
    }
  }

  for (const button of root.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => act(button.dataset.action));
  }
  for (const [form, name] of [["#more-evaluations", "evaluations"], ["#larger", "size"]]) {
    find(form, root).addEventListener("submit", (event) => {
      event.preventDefault();
      act("further", { [name]: Number(find("input", event.target).value) });
    });
  }
  find("#reuse", root).addEventListener("click", () => begin(run));
  find("#copy", root).addEventListener("click", copy);

  async function copy() {
    const code = find("#about code", root);
    try {
      await navigator.clipboard.writeText(code.textContent);
      tell(find("#copied", root), "Copied.");
    } catch {
      // Only pages of this machine and of https may write to the clipboard.
      getSelection().selectAllChildren(code);
      tell(find("#copied", root), "The command is selected: copy it with the keyboard.");
    }
  }

  /** Read the whole run again, with all its losses. */
  async function refresh() {
    const { id } = run;
    const next = await get(`/api/runs/${id}`);
    if (run.id !== id) return;
    rows = next.losses ?? [];
    show(next);
  }

  /** Add the newest losses; those after the evaluation that a run went back to are gone. */
  function addLoss(row) {
    if (!row || rows.at(-1)?.[0] === row[0]) return;
    if (rows.length && rows.at(-1)[0] > row[0]) rows = rows.filter((other) => other[0] < row[0]);
    rows.push(row);
  }

  function show(next) {
    const changed = run.state !== next.state;
    run = next;
    const words = stateOf(run);
    if (state.textContent !== words) state.textContent = words;
    if (changed) tell(find("#run-live", root), words);
    document.title = `${words} – jaxstyle`;
    find("progress", root).value = run.fraction ?? 0;
    tell(find("#run-detail", root), details(run));
    if (run.error) tell(error, sentence(run.error));

    for (const button of root.querySelectorAll("[data-action]")) {
      button.hidden = !STATES[button.dataset.action].includes(run.state);
    }
    showFurther(changed);
    showDownload();
    knobs(run);
    strip.show(run);
    curve(rows);
    showAbout();
    viewer.setSize(run.width, run.height);
    viewer.setBefore(`/api/runs/${run.id}/photo`);
    showPicture();
  }

  function showPicture() {
    const snapshot = strip.selected;
    if (snapshot) viewer.show(address(run, snapshot), `The picture after ${count(snapshot.evaluation, "evaluation")}`);
    else if (run.picture) {
      viewer.show(`/api/runs/${run.id}/picture?version=${run.picture}`,
        `The picture after ${count(run.evaluations, "evaluation")}`);
    } else viewer.show(`/api/runs/${run.id}/photo`, "The photo");
  }

  function showFurther(changed) {
    const section = find("#further", root);
    section.hidden = !ENDED.includes(run.state);
    if (section.hidden || !changed) return;
    const side = Math.max(run.width, run.height);
    find("#larger input", root).value = SIZES.find((size) => size >= side * 1.2) ?? Math.round(side * 1.5);
  }

  function showDownload() {
    const section = find("#download", root);
    section.hidden = !run.picture || !["paused", ...ENDED].includes(run.state);
    const links = ["png", "jpeg", "tiff"].map((format) => make("a", {
      class: "button", href: `/api/runs/${run.id}/download?format=${format}`, download: "",
    }, format.toUpperCase()));
    const list = find(".buttons", section);
    if (list.firstElementChild?.getAttribute("href") !== links[0].getAttribute("href")) list.replaceChildren(...links);
  }

  function showAbout() {
    const facts = { Status: run.status || "", "Compiled programs": run.programs ?? 0, ...run.settings };
    const items = Object.entries(facts).filter(([, value]) => value !== "" && value !== null)
      .flatMap(([name, value]) => [make("dt", {}, label(name)), make("dd", {}, String(value))]);
    const list = find("#about dl", root);
    const before = list.textContent;
    if (items.map((item) => item.textContent).join("") !== before) list.replaceChildren(...items);
    const code = find("#about code", root);
    tell(find("#similar", root), run.command_exact === false
      ? "Settings changed while it was painted, so the command makes a similar picture, not the same." : "");
    if (code.textContent !== (run.command ?? "")) code.textContent = run.command ?? "";
  }

  const label = (name) => options.fields.find((field) => field.name === name)?.label ?? name;

  return {
    async open(id) {
      run = { id, state: "", settings: {} };
      rows = [];
      strip.reset();
      tell(error, "");
      tell(find("#copied", root), "");
      await refresh();
    },
    update(next) {
      if (next.id !== run?.id) return;
      addLoss(next.loss);
      show(next);
    },
    refresh: () => (run ? refresh() : undefined),
    showError: (text) => tell(error, text),
  };
}

/** What there is to say about a run besides its state. */
function details(run) {
  const parts = [];
  if (run.evaluations || run.steps) parts.push(`Evaluation ${run.evaluations ?? 0} of ${run.steps}`);
  if (run.seconds_left !== null && run.seconds_left !== undefined && run.state === "running") {
    parts.push(`${duration(run.seconds_left)} left`);
  }
  if (["finished", "stopped"].includes(run.state) && run.seconds) parts.push(`after ${duration(run.seconds)}`);
  if (run.width) parts.push(`${run.width}x${run.height} pixels`);
  if (run.stage && ["starting", "running"].includes(run.state)) parts.push(run.stage);
  return parts.join(" · ");
}
