// Sets the counts and bars of stages, and moves hosts between the groups of the matrix, as they change. What it cannot know
// (a host that was only counted) it takes for waiting; the next time the page is fetched, the server's word replaces all of
// this.

// Cells that a group takes from here: as many as the server draws.
const MOST = 200;

const groups = (stage) => [...stage.querySelectorAll("[data-group]")];
const group = (stage, state) => groups(stage).find((one) => one.dataset.group === state);

function count(one, change) {
  const number = one.querySelector("[data-hosts]");
  const hosts = Math.max(0, Number(number.textContent) + change);
  number.textContent = String(hosts);
  one.hidden = hosts === 0;
  const more = one.querySelector("[data-more]");
  const hid = hosts - one.querySelectorAll("[data-host]").length;
  if (!more) return;
  more.hidden = hid <= 0;
  more.querySelector("span").textContent = String(hid);
}

function made(matrix, host) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `/admin/updates/hosts/${encodeURIComponent(host)}?rollout=${matrix.dataset.rollout}`;
  link.dataset.host = host;
  if (!matrix.hasAttribute("data-dense")) link.textContent = host;
  item.append(link);
  return item;
}

function move(matrix, { stage, host, state }) {
  const place = matrix.querySelector(`[data-matrix-stage="${Number(stage)}"]`);
  const to = place && group(place, state);
  if (!to) return;
  const found = place.querySelector(`a[data-host="${CSS.escape(host)}"]`);
  const from = found ? found.closest("[data-group]") : group(place, "pending");
  const cells = to.querySelector("ul");
  // A host that neither was drawn nor will be: nothing here tells where it was counted.
  if (from === to || (!found && !cells)) return;
  const item = found ? found.closest("li") : made(matrix, host);
  const focused = item.contains(document.activeElement);
  if (cells && cells.children.length < MOST) {
    label(item.firstElementChild, host, state, to.dataset.word);
    cells.append(item);
    if (focused) item.firstElementChild.focus();
  } else {
    item.remove();
    if (focused) to.querySelector("a").focus();
  }
  count(from, -1);
  count(to, 1);
}

function label(link, host, state, word) {
  link.dataset.state = state;
  link.title = `${host}: ${word}`;
  link.setAttribute("aria-label", link.title);
}

document.addEventListener("moved", ({ detail }) => {
  for (const moved of detail) {
    const matrix = document.querySelector(`[data-matrix][data-rollout="${CSS.escape(moved.rollout)}"]`);
    if (matrix) move(matrix, moved);
  }
});

function show({ element, counts, hosts }) {
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

document.addEventListener("counted", ({ detail }) => show(detail));
