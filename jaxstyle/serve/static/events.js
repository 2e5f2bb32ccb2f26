/**
 * Listen to the server's events while the page is visible: a hidden page asks for nothing, and browsers open few
 * connections per server.
 *
 * @param {Object} handlers
 * @param {(run: any) => void} handlers.run A run has changed.
 * @param {() => void} handlers.runs The list of runs has changed, or events may have been missed.
 * @param {(connected: boolean) => void} handlers.connection
 */
export function listen({ run, runs, connection }) {
  /** @type {EventSource | null} */
  let source = null;
  let again = 0;

  function open() {
    clearTimeout(again);
    source = new EventSource("/api/events");
    source.addEventListener("open", () => {
      connection(true);
      runs();
    });
    source.addEventListener("run", (event) => run(JSON.parse(event.data)));
    source.addEventListener("runs", runs);
    source.addEventListener("error", () => {
      if (!source) return;
      connection(false);
      // The browser tries again by itself, except after an answer that is an error.
      if (source.readyState === EventSource.CLOSED) again = setTimeout(open, 3000);
    });
  }

  function follow() {
    clearTimeout(again);
    source?.close();
    source = null;
    if (!document.hidden) open();
  }

  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", () => source?.close());
  follow();
}
