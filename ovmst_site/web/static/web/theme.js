// The theme of pages and admin. Before anything is drawn: what this browser's person chose, else the system's.
"use strict";
(() => {
  const root = document.documentElement;
  let chosen = null;
  try {
    chosen = localStorage.getItem("ovmst-theme");
  } catch {
    // Storage may be forbidden; then the system's theme serves.
  }
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  else root.dataset.theme ??= "auto"; // the admin's own frame doesn't say so

  // The switch: from what is shown now to the other one.
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-switch]")) return;
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const now = root.dataset.theme === "auto" ? system : root.dataset.theme;
    root.dataset.theme = now === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("ovmst-theme", root.dataset.theme);
    } catch {
      // It holds for this page only.
    }
  });
})();
