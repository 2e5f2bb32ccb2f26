/** Offers to go on with pictures that the end of the server interrupted. */

import { get, post, remove } from "./api.js";
import { make, tell } from "./dom.js";
import { count } from "./words.js";

/**
 * @param {HTMLElement} root
 * @param {(place: string) => void} go
 */
export async function offerInterrupted(root, go) {
  const pictures = await get("/api/interrupted");
  root.hidden = pictures.length === 0;
  if (root.hidden) return;
  const error = make("p", { class: "bad", role: "alert", hidden: true });
  const text = pictures.length === 1 ? "A picture was interrupted." : `${count(pictures.length, "picture")} were interrupted.`;
  root.replaceChildren(make("p", {}, text), make("ul", {}, ...pictures.map(item)), error);

  function item(picture) {
    const act = (work) => async () => {
      try {
        await work();
      } catch (failure) {
        tell(error, failure.message);
        return;
      }
      await offerInterrupted(root, go);
    };
    const done = picture.evaluation === undefined ? "" : `, ${count(picture.evaluation, "evaluation")} done`;
    const name = `${picture.width ?? "?"}x${picture.height ?? "?"} pixels${done}`;
    return make("li", {}, name, " ",
      make("button", { type: "button", class: "primary", "aria-label": `Continue the picture: ${name}`, click: act(async () => {
        const { id } = await post(`/api/interrupted/${picture.id}/resume`);
        go(`run/${id}`);
      }) }, "Continue"), " ",
      make("button", { type: "button", "aria-label": `Discard the picture: ${name}`,
        click: act(() => remove(`/api/interrupted/${picture.id}`)) }, "Discard"));
  }
}
