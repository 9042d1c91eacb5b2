// Puts what live.js fetched in the place of what is shown, region by region, and leaves people where they are.

// What the same thing matches in the page that is fetched anew.
function likeness(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  const inside = element.parentElement.id ? `#${CSS.escape(element.parentElement.id)} > ` : "";
  const told = ["data-host", "href", "name", "aria-label"].find((name) => element.hasAttribute(name));
  const which = told ? `[${told}="${CSS.escape(element.getAttribute(told))}"]` : "";
  return inside + element.localName + which;
}

document.addEventListener("fetched", ({ detail: fresh }) => {
  for (const old of document.querySelectorAll("[data-region]")) {
    const name = CSS.escape(old.dataset.region);
    const now = fresh.querySelector(`[data-region="${name}"]`);
    // What somebody types into, or has opened, stays as it is.
    if (!now || old.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) continue;
    if (old.innerHTML === now.innerHTML) continue;
    const open = [...old.querySelectorAll("details[open][id]")].map((details) => details.id);
    const focus = old.contains(document.activeElement) ? likeness(document.activeElement) : null;
    const at = focus && [...old.querySelectorAll(focus)].indexOf(document.activeElement);
    old.replaceChildren(...now.childNodes);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    // Who goes by keyboard, or hears the page read out, stays where they are.
    if (focus) old.querySelectorAll(focus)[at]?.focus({ preventScroll: true });
  }
});
