// What pages do beyond HTML: `/` goes to the search, Esc closes, the bar of a small screen shows where one is.
// Everything essential works without.
"use strict";
// The one way by which text becomes a part of a page: htmx parses parts of our own pages with it. Where there are
// Trusted Types every other way is closed, and nothing that could run is let through here either.
if (window.trustedTypes) {
  const barred = "script:not([src^='/assets/']), iframe, object, embed, base";
  const runs = (part) =>
    [...part.querySelectorAll("*")].some(
      (one) =>
        one.matches(barred) ||
        one.getAttributeNames().some((name) => name.startsWith("on")) ||
        (one.localName === "template" && runs(one.content)),
    );
  const ours = trustedTypes.createPolicy("mailward", { createHTML: (text) => text });
  Document.parseHTMLUnsafe = (text) => {
    const parsed = new DOMParser().parseFromString(ours.createHTML(text), "text/html");
    if (runs(parsed)) throw new TypeError("a part of a page may hold nothing that runs");
    return parsed;
  };
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.querySelector("input[type=search]");
    const people = document.querySelector("nav a[href='/users']");
    if (search || people) event.preventDefault();
    if (search) {
      search.focus();
      search.select();
    } else if (people) {
      people.click();
    }
  }
  if (event.key === "Escape") {
    const open = event.target.closest("details[open]") || document.querySelector("details.panel[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  }
});
const showPlace = () =>
  document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
showPlace();
window.addEventListener("resize", showPlace);
document.addEventListener("focusin", (event) => {
  if (event.target.matches("input[data-select]")) event.target.select();
});
// A second click on a button whose answer is on its way would do the work twice, and show its second answer alone.
const PATIENCE = 15000;
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (Date.now() - (form.dataset.sent ?? 0) < PATIENCE) event.preventDefault();
  else form.dataset.sent = Date.now();
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
