// Keeps an open page true. Events set the cells at once; counts and bars come from one small JSON reply, at most once a
// second; what changes the page's structure is fetched as the same page and swapped region by region, by regions.js.
// Without this file every page works: it is then as old as its last load.

const body = document.body;
const badge = document.querySelector("[data-live]");
const said = document.getElementById("said");

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
    if (isSignedOut(reply)) return location.reload();
    if (reply.ok) showRollout((await reply.json()).rollout);
  } catch { /* the stream says when the server is away */ }
  setTimeout(() => {
    statusRuns = false;
    if (statusAgain) askStatus();
  }, 1000);
  return undefined;
}

function showRollout(rollout) {
  if (!rollout) return;
  const panel = document.querySelector(`[data-rollout="${CSS.escape(rollout.id)}"]`);
  if (!panel) return refresh();
  // That nobody works on it any more is told by no event.
  const { at, attended } = panel.dataset;
  if (at !== rollout.state || attended !== String(rollout.attended)) refresh();
  for (const stage of rollout.stages) {
    const element = panel.querySelector(`[data-stage="${Number(stage.index)}"]`);
    if (!element) continue;
    if (element.dataset.at !== stage.state) refresh();
    const { counts, hosts } = stage;
    document.dispatchEvent(new CustomEvent("counted", { detail: { element, counts, hosts } }));
  }
  const { counts } = rollout;
  const bad = counts.failed + counts.rolled_back;
  const now = rollout.stages.find((stage) => stage.index === rollout.stage);
  if (now) {
    const c = now.counts;
    say(`Stage ${now.index}: ${now.hosts - c.pending - c.updating} of ${now.hosts} done, ${bad} failed in all.`);
  }
}

/* ---- structure: the same page again ---- */

let refreshDue = 0;
let refreshRuns = false;
let refreshAgain = false;
let refreshRest = 0;
// How many times in a row the page could not be fetched, and when it was.
let missed = 0;
let fresh = Date.now();

function refresh() {
  if (refreshRuns) refreshAgain = true;
  else refreshDue ||= setTimeout(swap, 300);
}

// What is told in words may be a few seconds old, not a whole stage.
let later = 0;

function refreshLater() {
  later ||= setTimeout(() => { later = 0; refresh(); }, 4000);
}

// Not all that a page tells has an event: a check that finds everything as before has none, and neither has its absence.
function keepFresh() {
  if (!document.hidden && Date.now() - fresh >= 60_000) refresh();
}

// Whether this is where people sign in, and no page of ours: that may be below /admin as well.
function asksWho(url) {
  const { signIn } = body.dataset;
  const { pathname } = new URL(url);
  return !pathname.startsWith("/admin/") || (signIn && pathname === new URL(signIn, location.href).pathname);
}

function isSignedOut(reply) {
  return reply.status === 401 || reply.redirected && asksWho(reply.url);
}

async function swap() {
  refreshDue = 0;
  refreshRuns = true;
  refreshAgain = false;
  meanwhile = new Map();
  missed += 1;
  try {
    const reply = await fetch(location.href, { headers: { accept: "text/html" } });
    if (isSignedOut(reply)) return location.reload();
    if (reply.ok) {
      const detail = new DOMParser().parseFromString(await reply.text(), "text/html");
      document.dispatchEvent(new CustomEvent("fetched", { detail }));
      missed = 0;
      fresh = Date.now();
    }
  } catch { /* the stream says when the server is away */ }
  const painted = meanwhile;
  meanwhile = null;
  for (const moved of painted.values()) cell(moved, moved.state);
  // What did not come stays due: it is fetched when the server is back, or after a while.
  refreshRest = setTimeout(rested, missed ? Math.min(30_000, 2000 * 2 ** missed) : 2000);
  return undefined;
}

function rested() {
  clearTimeout(refreshRest);
  refreshRest = 0;
  refreshRuns = false;
  if (refreshAgain || missed && !document.hidden) refresh();
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
    if (lost || missed) refresh();
    if (missed && refreshRest) rested();
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
    if (badge?.dataset.live !== "asks") disconnected();
    // The browser comes back by itself with the last id, unless the answer was an error: then we do.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    tries += 1;
    retry = setTimeout(connect, Math.min(30_000, 1000 * 2 ** tries) * (0.5 + Math.random()));
    asking ||= setTimeout(askInstead, 0);
  };
}

function disconnected() {
  show("off", `disconnected since ${new Date(lost).toLocaleTimeString()}`);
}

// Where there is no stream, as when the server has too many, the status is asked for instead. It also says whether
// somebody has to sign in again, which a stream that is refused does not.
let asking = 0;
let answered = "";

async function askInstead() {
  let answer = null;
  try {
    const reply = await fetch(body.dataset.status, { headers: { accept: "application/json" } });
    if (isSignedOut(reply)) return location.reload();
    if (reply.ok) answer = await reply.text();
  } catch { /* said below */ }
  asking = 0;
  if (document.hidden || source?.readyState === EventSource.OPEN) return undefined;
  asking = setTimeout(askInstead, 10_000);
  if (answer === null) {
    disconnected();
    return undefined;
  }
  show("asks", "every 10 s");
  if (answer !== answered) {
    answered = answer;
    // A page that shows no rollout asks for itself.
    if (body.dataset.status) showRollout(JSON.parse(answer).rollout);
    refresh();
  }
  return undefined;
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
  setInterval(keepFresh, 10_000);
  document.addEventListener("visibilitychange", () => {
    // A hidden page holds no connection: six of them would use up all that a browser opens to one server.
    if (document.hidden) return close();
    connect();
    return keepFresh();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && connect());
}
