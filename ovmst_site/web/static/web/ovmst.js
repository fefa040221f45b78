// What pages do beyond plain links and forms. Everything works without it.
"use strict";

// Menus close when something else is clicked, or by Escape. On a wide window the main one is always open.
const wide = matchMedia("(min-width: 62rem)");
function mainMenu() {
  const menu = document.querySelector(".main-nav > details");
  if (menu) menu.open = wide.matches;
}
wide.addEventListener("change", mainMenu);
mainMenu();
function closeMenus(except) {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    const isMain = menu.parentElement.classList.contains("main-nav");
    if (menu !== except && !(isMain && wide.matches)) menu.open = false;
  }
}
document.addEventListener("click", (event) => closeMenus(event.target.closest("details[data-menu]")));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeMenus(null);
});

// A question before what can't be taken back: <form data-confirm="Delete this job?">.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// A form is sent once: a second click on its button does nothing. After a while it does: the person may have
// stopped the first one (Escape), of which no page is told.
const SENT_FOR = 5000; // ms
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  const { dataset } = event.target;
  if (dataset.sent && Date.now() - Number(dataset.sent) < SENT_FOR) event.preventDefault();
  else dataset.sent = String(Date.now());
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// "Select all on this page" in lists, and how many are: <span data-selected-of="row">.
function boxes(name) {
  return [...document.querySelectorAll(`input[type=checkbox][name="${CSS.escape(name)}"]`)];
}
function countSelected() {
  for (const line of document.querySelectorAll("[data-selected-of]")) {
    const selected = boxes(line.dataset.selectedOf).filter((box) => box.checked).length;
    line.textContent = `${selected} selected on this page.`;
  }
  for (const all of document.querySelectorAll("[data-select-all]")) {
    const rows = boxes(all.dataset.selectAll);
    all.checked = rows.length > 0 && rows.every((box) => box.checked);
    all.indeterminate = !all.checked && rows.some((box) => box.checked);
  }
}
document.addEventListener("change", (event) => {
  const name = event.target.dataset.selectAll;
  if (name) for (const box of boxes(name)) box.checked = event.target.checked;
  if (event.target.type === "checkbox") countSelected();
});
document.addEventListener("htmx:afterSwap", countSelected);
addEventListener("pageshow", countSelected);

// A filter's address holds what was asked, not what was left empty: <form data-tidy>.
document.addEventListener("htmx:configRequest", (event) => {
  if (!event.target.matches("form[data-tidy]")) return;
  for (const [name, value] of [...event.detail.formData.entries()]) {
    if (value === "") event.detail.formData.delete(name);
  }
});

// A filter says what the address says, also after a link beside it changed that: <form data-follows-address>.
document.addEventListener("htmx:pushedIntoHistory", () => {
  const asked = new URLSearchParams(location.search);
  for (const form of document.querySelectorAll("form[data-follows-address]")) {
    for (const field of form.elements) {
      if (!field.name || field.type === "hidden" || field === document.activeElement) continue;
      field.value = asked.get(field.name) ?? "";
    }
  }
});

// A refresh yields to what a person asked for: it would show the old filter, or take away the link that they
// clicked before its answer is there.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { elt } = event.detail.requestConfig;
  if (!elt.matches("[data-refreshes]")) return;
  const isAsked = [...document.querySelectorAll(".htmx-request")].some((other) => other !== elt);
  if (isAsked || !elt.isConnected) event.detail.shouldSwap = false;
});

// What is said to screen readers is said when it changes, not whenever it is fetched again.
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  const { target, fragment } = event.detail;
  const words = (node) => node.textContent.replace(/\s+/g, " ").trim();
  if (target.matches("[role=status], [role=alert]") && words(target) === words(fragment)) event.detail.shouldSwap = false;
});

// Focus that a swap took away (a "Next" that the last page hasn't, "Earlier lines") goes to what was swapped: the
// keyboard goes on from there, not from the top of the page. htmx itself keeps it on elements with an id.
let around = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target } = event.detail;
  around = target !== document.body && target.contains(document.activeElement) ? [target, target.parentElement] : null;
});
document.addEventListener("htmx:afterSwap", () => {
  const place = around?.find((element) => element?.isConnected);
  around = null;
  if (!place || (document.activeElement && document.activeElement !== document.body)) return;
  if (!place.hasAttribute("tabindex")) place.tabIndex = -1;
  place.focus({ preventScroll: true });
});

// What refreshes by itself keeps where its tables were scrolled to.
const scrolled = new WeakMap();
document.addEventListener("htmx:beforeSwap", (event) => {
  const wraps = event.detail.target.querySelectorAll(".table-wrap");
  scrolled.set(event.detail.target, [...wraps].map((wrap) => [wrap.scrollLeft, wrap.scrollTop]));
});
document.addEventListener("htmx:afterSwap", (event) => {
  const places = scrolled.get(event.detail.target) ?? [];
  event.detail.target.querySelectorAll(".table-wrap").forEach((wrap, n) => {
    [wrap.scrollLeft, wrap.scrollTop] = places[n] ?? [0, 0];
  });
});

// A part that could not be fetched: htmx leaves the old one, so the page says that it is old.
function say(text) {
  let line = document.getElementById("connection");
  if (!line) {
    line = document.createElement("p");
    line.id = "connection";
    line.className = "message warning";
    line.setAttribute("role", "status");
    document.querySelector("main").prepend(line);
  }
  line.textContent = text;
  line.hidden = !text;
}
document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  say(status === 503 ? "The database is in trouble; what you see may be old." : `The server answered with ${status}; what you see may be old.`);
});
document.addEventListener("htmx:sendError", () => say("The server doesn't answer; what you see may be old."));
document.addEventListener("htmx:afterSwap", () => {
  if (document.getElementById("connection")) say("");
});

// Parts that ask for themselves again and again rest while nobody looks at the page.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.matches("[data-polls]")) event.preventDefault();
});
