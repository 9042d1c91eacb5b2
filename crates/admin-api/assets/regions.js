// Puts a page that was fetched anew in the place of what is shown, region by region; keeps relative times going, and takes
// "/" to the search. Without this file a page is as old as its last load.

/* ---- a clock for relative times ---- */

function ago(seconds) {
  if (seconds < 5) return "just now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago(Math.max(0, (now - Date.parse(time.dateTime)) / 1000));
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(tick, 10_000);

/* ---- keyboard ---- */

addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.closest("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.querySelector("input[type=search]");
  if (search) {
    event.preventDefault();
    search.focus();
  }
});

/* ---- regions ---- */

// What the same thing matches in the page that is fetched anew.
function likeness(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  const inside = element.parentElement.id ? `#${CSS.escape(element.parentElement.id)} > ` : "";
  const told = ["data-host", "href", "name", "aria-label"].find((name) => element.hasAttribute(name));
  const which = told ? `[${told}="${CSS.escape(element.getAttribute(told))}"]` : "";
  return inside + element.localName + which;
}

function regions(fresh) {
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
  tick();
}

document.addEventListener("fetched", ({ detail }) => regions(detail));
