// Before anything is drawn: the theme that this browser's person chose, else the system's.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("ovmst-theme");
  } catch {
    // Storage may be forbidden; then the system's theme serves.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
