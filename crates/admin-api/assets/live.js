// Keeps an open page true. Events set the cells at once; counts and bars come from one small JSON reply, at most once a
// second; what changes the page's structure is fetched as the same page and swapped region by region.
// Without this file every page works: it is then as old as its last load.

const body = document.body;
const badge = document.querySelector("[data-live]");
const said = document.getElementById("said");

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

/* ---- a polite sentence, at most every ten seconds ---- */

let sentence = "";
let speaking = 0;

function say(text) {
  sentence = text;
  if (speaking) return;
  const speak = () => {
    speaking = 0;
    if (!said || !sentence || said.textContent === sentence) return;
    said.textContent = sentence;
    sentence = "";
    speaking = setTimeout(speak, 10_000);
  };
  speak();
}

/* ---- cells: set in one go per frame, by matrix.js ---- */

const pending = new Map();
let frame = 0;

// What is painted while the page is fetched anew is newer than what comes of it.
let meanwhile = null;

function cell(event, state) {
  const moved = { rollout: event.rollout, stage: event.stage, host: event.host, state };
  pending.set(event.host, moved);
  meanwhile?.set(event.host, moved);
  frame ||= requestAnimationFrame(paint);
}

function paint() {
  frame = 0;
  document.dispatchEvent(new CustomEvent("moved", { detail: [...pending.values()] }));
  pending.clear();
}

/* ---- counts and bars: from the status reply ---- */

let statusDue = 0;
let statusRuns = false;
let statusAgain = false;

function askStatus() {
  if (!body.dataset.status) return;
  if (statusRuns || statusDue) {
    statusAgain = true;
    return;
  }
  statusDue = setTimeout(readStatus, 250);
}

async function readStatus() {
  statusDue = 0;
  statusRuns = true;
  statusAgain = false;
  try {
    const reply = await fetch(body.dataset.status, { headers: { accept: "application/json" } });
    if (reply.ok) showRollout((await reply.json()).rollout);
    else if (reply.status === 401) location.reload();
  } catch { /* the stream says when the server is away */ }
  setTimeout(() => {
    statusRuns = false;
    if (statusAgain) askStatus();
  }, 1000);
}

function showRollout(rollout) {
  if (!rollout) return;
  const panel = document.querySelector(`[data-rollout="${CSS.escape(rollout.id)}"]`);
  if (!panel) return refresh();
  if (panel.dataset.at !== rollout.state) refresh();
  for (const stage of rollout.stages) {
    const element = panel.querySelector(`[data-stage="${Number(stage.index)}"]`);
    if (!element) continue;
    if (element.dataset.at !== stage.state) refresh();
    showCounts(element, stage.counts, stage.hosts);
  }
  const { counts } = rollout;
  const bad = counts.failed + counts.rolled_back;
  const now = rollout.stages.find((stage) => stage.index === rollout.stage);
  if (now) {
    const c = now.counts;
    say(`Stage ${now.index}: ${now.hosts - c.pending - c.updating} of ${now.hosts} done, ${bad} failed in all.`);
  }
}

function showCounts(element, counts, hosts) {
  const share = (kind) => (hosts ? (counts[kind] * 100) / hosts : 0);
  let before = null;
  let at = 0;
  // A colour and the pattern laid over it are two of the same kind.
  for (const rect of element.querySelectorAll("rect[data-kind]")) {
    const { kind } = rect.dataset;
    if (before && before !== kind) at += share(before);
    before = kind;
    rect.setAttribute("x", `${at}%`);
    rect.setAttribute("width", `${share(kind)}%`);
  }
  for (const number of element.querySelectorAll("[data-count]")) {
    const kind = number.dataset.count;
    const value = kind === "done" ? hosts - counts.pending - counts.updating
      : kind === "bad" ? counts.failed + counts.rolled_back : counts[kind];
    if (number.textContent !== String(value)) number.textContent = String(value);
    const item = number.closest("[data-zero]");
    if (item) item.hidden = value === 0;
  }
}

/* ---- structure: the same page again, region by region ---- */

let refreshDue = 0;
let refreshRuns = false;
let refreshAgain = false;

function refresh() {
  if (refreshRuns || refreshDue) {
    refreshAgain = refreshRuns;
    return;
  }
  refreshDue = setTimeout(swap, 300);
}

// What is told in words may be a few seconds old, not a whole stage.
let later = 0;

function refreshLater() {
  later ||= setTimeout(() => { later = 0; refresh(); }, 4000);
}

// Whether this is where people sign in, and no page of ours: that may be below /admin as well.
function asksWho(url) {
  const { signIn } = body.dataset;
  const { pathname } = new URL(url);
  return !pathname.startsWith("/admin/") || (signIn && pathname === new URL(signIn, location.href).pathname);
}

async function swap() {
  refreshDue = 0;
  refreshRuns = true;
  refreshAgain = false;
  meanwhile = new Map();
  try {
    const reply = await fetch(location.href, { headers: { accept: "text/html" } });
    if (reply.redirected && asksWho(reply.url)) return location.reload();
    if (reply.ok) {
      const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
      document.dispatchEvent(new CustomEvent("fetched", { detail: fresh }));
      tick();
    }
  } catch { /* the stream says when the server is away */ }
  const painted = meanwhile;
  meanwhile = null;
  for (const moved of painted.values()) cell(moved, moved.state);
  setTimeout(() => {
    refreshRuns = false;
    if (refreshAgain) refresh();
  }, 2000);
  return undefined;
}

/* ---- the feed ---- */

let source = null;
let last = body.dataset.seq ?? "";
let lost = 0;
let tries = 0;
let retry = 0;

function connect() {
  clearTimeout(retry);
  if (source || document.hidden) return;
  const url = new URL(body.dataset.feed, location.href);
  if (last) url.searchParams.set("after", last);
  source = new EventSource(url);
  source.onopen = () => {
    tries = 0;
    lost = 0;
    show("on", "live");
    askStatus();
  };
  source.onmessage = (message) => {
    last = message.lastEventId || last;
    heard(JSON.parse(message.data));
  };
  source.addEventListener("reset", (message) => {
    last = message.lastEventId || last;
    refresh();
  });
  source.addEventListener("bye", (message) => {
    if (JSON.parse(message.data).reason === "revoked") location.reload();
  });
  source.onerror = () => {
    lost ||= Date.now();
    show("off", `disconnected since ${new Date(lost).toLocaleTimeString()}`);
    // The browser comes back by itself with the last id, unless the answer was an error: then we do.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    tries += 1;
    retry = setTimeout(connect, Math.min(30_000, 1000 * 2 ** tries) * (0.5 + Math.random()));
  };
}

function close() {
  source?.close();
  source = null;
}

function show(state, text) {
  if (!badge) return;
  badge.dataset.live = state;
  badge.textContent = `${state === "on" ? "●" : "○"} ${text}`;
}

function heard(event) {
  const { type, host } = event;
  const here = event.rollout && document.querySelector(`[data-rollout="${CSS.escape(event.rollout)}"]`);
  if (type === "host.started" || type === "host.taken_over") {
    if (here) cell(event, "updating");
    askStatus();
    if (body.dataset.host === host) refresh();
    else refreshLater();
  } else if (type === "host.finished") {
    const state = event.reason === "unchanged" ? "unchanged" : event.status;
    if (here) cell(event, state);
    askStatus();
    if (event.status !== "success" || body.dataset.host === host) refresh();
    else refreshLater();
  } else if (type.startsWith("host.")) {
    if (type !== "host.step" || body.dataset.host === host) refresh();
    else if (document.querySelector('[data-region="flight"]')) refreshLater();
  } else {
    refresh();
  }
}

if (body.dataset.feed) {
  connect();
  document.addEventListener("visibilitychange", () => {
    // A hidden page holds no connection: six of them would use up all that a browser opens to one server.
    if (document.hidden) close();
    else connect();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && connect());
}
