// Lays what asks "are you sure?" over the page: the page that asks, fetched from its own address, whose form is sent to
// where it says. Without this file that page is gone to; where something goes wrong here, it is gone to as well.

const accept = { accept: "text/html" };

// What the page in this text asks; null when it is no page of ours.
function asked(text) {
  const main = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  if (!main?.querySelector("h1")) return null;
  for (const element of main.querySelectorAll("[data-page-only]")) element.remove();
  return main;
}

async function ask(url, opener) {
  if (opener.hasAttribute("aria-busy")) return;
  opener.setAttribute("aria-busy", "true");
  let page = null;
  try {
    const reply = await fetch(url, { headers: accept });
    if (!reply.redirected) page = asked(await reply.text());
  } catch { /* the browser says it better */ }
  opener.removeAttribute("aria-busy");
  if (page) show(page, opener);
  else location.assign(url);
}

function show(page, opener) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "dialog-h");
  fill(dialog, page);
  dialog.addEventListener("click", (event) => {
    if (!event.target.closest("[data-cancel]")) return;
    event.preventDefault();
    dialog.close();
  });
  dialog.addEventListener("submit", (event) => {
    event.preventDefault();
    send(dialog, event.target);
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    // The page may have been brought up to date meanwhile, and the opener be another element, or gone.
    const back = opener.isConnected ? opener : opener.id && document.getElementById(opener.id);
    (back || document.getElementById("main")).focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector("h1").focus();
}

function fill(dialog, page) {
  dialog.replaceChildren(...page.childNodes);
  const heading = dialog.querySelector("h1");
  heading.id = "dialog-h";
  heading.tabIndex = -1;
  if (dialog.querySelector("[data-cancel]")) return;
  const close = document.createElement("button");
  close.textContent = "Close";
  close.dataset.cancel = "";
  const actions = document.createElement("p");
  actions.className = "actions";
  actions.append(close);
  dialog.append(actions);
}

// Whether this is where people sign in, and no page of ours: that may be below /admin as well.
function asksWho(url) {
  const { signIn } = document.body.dataset;
  const { pathname } = new URL(url);
  return !pathname.startsWith("/admin/") || (signIn && pathname === new URL(signIn, location.href).pathname);
}

async function send(dialog, form) {
  if (dialog.hasAttribute("aria-busy")) return;
  dialog.setAttribute("aria-busy", "true");
  const body = new URLSearchParams(new FormData(form));
  try {
    const reply = await fetch(form.action, { method: "POST", headers: accept, body });
    if (asksWho(reply.url)) return location.reload();
    if (reply.ok) {
      dialog.close();
      return location.assign(reply.url);
    }
    refuse(dialog, form, asked(await reply.text()), reply.status);
  } catch {
    refuse(dialog, form, null, 0);
  }
  return dialog.removeAttribute("aria-busy");
}

// A page that asks again takes the place of the question; of any other, what is wrong is told above the buttons.
function refuse(dialog, form, page, status) {
  if (page?.querySelector("#confirm")) {
    fill(dialog, page);
  } else {
    dialog.querySelector("#problem")?.remove();
    form.before(page?.querySelector("#problem") ?? note(status));
  }
  const problem = dialog.querySelector("#problem");
  problem.tabIndex = -1;
  problem.focus();
}

function note(status) {
  const text = document.createElement("p");
  text.textContent = status ? `The server answered ${status}; nothing is known of what became of it.`
    : "The server cannot be reached. Nothing is known of what became of it: look at the page before you try again.";
  const box = document.createElement("div");
  box.id = "problem";
  box.className = "note bad";
  box.setAttribute("role", "alert");
  box.append(text);
  return box;
}

document.addEventListener("click", (event) => {
  const opener = event.target instanceof Element && event.target.closest("a[data-dialog]");
  if (!opener || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  ask(opener.href, opener);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-dialog]")) return;
  event.preventDefault();
  const url = new URL(form.action);
  url.search = new URLSearchParams(new FormData(form));
  ask(url.href, event.submitter ?? form);
});
