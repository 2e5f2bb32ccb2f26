/** Dark or light: as the system says, until the button says otherwise. */

const system = matchMedia("(prefers-color-scheme: dark)");

/** @param {HTMLButtonElement} button */
export function followTheme(button) {
  const isDark = () => (localStorage.theme ? localStorage.theme === "dark" : system.matches);
  const show = () => {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Use light colors" : "Use dark colors");
  };
  button.addEventListener("click", () => {
    localStorage.theme = isDark() ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  // Another tab of the page.
  addEventListener("storage", show);
  show();
}
