/** @param {number} milliseconds */
export const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/**
 * Return a function that calls `work` with the last arguments it got, and never twice at a time: calls do not pile up
 * behind a slow server.
 *
 * @template {any[]} Arguments
 * @param {(...values: Arguments) => Promise<void>} work Handles its own errors.
 * @param {number} delay Milliseconds to wait for a later call before each work.
 * @returns {(...values: Arguments) => void}
 */
export function latest(work, delay = 0) {
  /** @type {Arguments | null} */
  let next = null;
  let busy = false;

  async function run() {
    busy = true;
    try {
      while (next) {
        if (delay) await wait(delay);
        const values = next;
        next = null;
        await work(...values);
      }
    } finally {
      busy = false;
    }
  }

  return (...values) => {
    next = values;
    if (!busy) run();
  };
}
