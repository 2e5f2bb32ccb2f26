/** Numbers and states as text. */

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return count(Math.round(seconds), "second");
  if (seconds < 5400) return count(Math.round(seconds / 60), "minute");
  return `${(seconds / 3600).toFixed(1)} hours`;
}

/** @param {number} number */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** @param {number} number */
export function ordinal(number) {
  const suffix = { one: "st", two: "nd", few: "rd" }[new Intl.PluralRules("en", { type: "ordinal" }).select(number)];
  return `${number}${suffix ?? "th"}`;
}

/** Short text for a number: at most four digits. */
export const short = (number) => String(Number(number.toPrecision(4)));

/** State of a run in a few words. */
export function stateOf(run) {
  const percent = `${Math.floor(100 * (run.fraction ?? 0))} %`;
  switch (run.state) {
    case "queued": return run.position ? `Waiting, ${ordinal(run.position)} in the queue` : "Waiting";
    case "starting": return "Starting";
    case "running": return `Painting, ${percent}`;
    case "paused": return `Paused at ${percent}`;
    case "finished": return "Finished";
    case "stopped": return "Stopped and kept";
    case "failed": return "Failed";
    default: return "Interrupted";
  }
}
