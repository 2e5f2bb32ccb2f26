/** The page: which view is shown, and who hears of the server's events. */

import { get } from "./api.js";
import { find, tell } from "./dom.js";
import { listen } from "./events.js";
import { makeGallery, makeKept } from "./gallery.js";
import { offerInterrupted } from "./interrupted.js";
import { latest } from "./latest.js";
import { makeRuns } from "./runs.js";
import { makeRunView } from "./run.js";
import { makeSheet } from "./sheet.js";
import { makeStart } from "./start.js";
import { followTheme } from "./theme.js";
import { stateOf } from "./words.js";

/** The run that works, otherwise one that waits. */
const activeOf = (runs) => {
  const some = (states) => runs.find((run) => states.includes(run.state) && !run.sweep);
  return some(["starting", "running", "paused"]) ?? some(["queued"]);
};

const go = (place) => (location.hash = `#${place}`);
const place = () => location.hash.slice(1);

async function begin() {
  followTheme(find("#theme"));
  const connection = find("#connection");
  const active = find("#active");
  let options;
  /** @type {Map<string, any>} */
  let runs = new Map();
  try {
    options = await get("/api/options");
    runs = byId(await get("/api/runs"));
  } catch (failure) {
    tell(connection, failure.message);
    return;
  }

  const start = makeStart(find("#new"), options, go);
  const fill = (request) => {
    start.load(request);
    go("new");
  };
  const view = makeRunView(find("#run"), { options, go, begin: fill });
  const sheet = makeSheet(find("#sheet"), { options, runOf: (id) => runs.get(id), go });
  const openGallery = makeGallery(find("#gallery"));
  const openKept = makeKept(find("#kept"), fill);
  const showRuns = makeRuns(find("#runs"));

  /** What each view needs before it is shown; the name is that of its element. */
  const views = {
    new: () => (document.title = "jaxstyle"),
    run: (id) => view.open(id).catch((failure) => view.showError(failure.message)),
    sheet: (id) => sheet.open(id),
    gallery: () => openGallery(),
    kept: (id) => openKept(id),
  };

  function route(event) {
    const [name, id] = place().split("/");
    const shown = name in views ? name : "new";
    for (const other of Object.keys(views)) find(`#${other}`).hidden = other !== shown;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.getAttribute("href") === `#${shown}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = "jaxstyle";
    views[shown](id);
    show();
    scrollTo(0, 0);
    // Not when the page has just been loaded: the keyboard then begins at its top.
    if (event) find(`#${shown} h1`)?.focus();
  }

  function show() {
    const list = [...runs.values()];
    showRuns(list, place());
    const current = activeOf(list);
    tell(active, current && place() !== `run/${current.id}` ? stateOf(current) : "");
    if (current) active.href = `#run/${current.id}`;
  }

  const readRuns = latest(async () => {
    try {
      runs = byId(await get("/api/runs"));
      show();
      if (place().startsWith("run/")) await view.refresh();
      if (place() === "gallery") openGallery();
      sheet.refresh();
    } catch (failure) {
      tell(connection, failure.message);
    }
  });

  addEventListener("hashchange", route);
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    go("new");
    start.drop([...event.dataTransfer.files]);
  });
  if (!place()) {
    const current = activeOf([...runs.values()]);
    history.replaceState(null, "", current ? `#run/${current.id}` : "#new");
  }
  route();
  listen({
    run(run) {
      runs.set(run.id, run);
      show();
      if (place() === `run/${run.id}`) view.update(run);
      sheet.update(run);
    },
    runs: readRuns,
    connection: (works) => tell(connection, works ? ""
      : "The server does not answer. Pictures are kept: start jaxstyle serve again, and open the address that it prints."),
  });
  offerInterrupted(find("#interrupted"), go).catch((failure) => tell(connection, failure.message));
}

const byId = (runs) => new Map(runs.map((run) => [run.id, run]));

begin();
