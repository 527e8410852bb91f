// The help desk's page: what is shown, and what is done about it. What is known is in state.js, how it comes in
// feed.js, how messages go out in outbox.js.

import { $, api, bdi, el, followSession, kept, notice, pause, restore, session, signIn, signOut, time } from "./base.js";
import { Feed } from "./feed.js";
import { VirtualList } from "./list.js";
import { Outbox } from "./outbox.js";
import { State } from "./state.js";

const STATUS = {
  connecting: () => "Connecting …",
  live: () => "Up to date",
  polling: (seconds) => `Up to date every ${seconds} s`,
  "catching up": () => "Catching up …",
  busy: (seconds) => `The server is busy. Next try in ${seconds} s`,
  away: (seconds) => `No connection. Next try in ${seconds} s`,
  offline: () => "You are offline. What you write is sent later",
};
const CONTENT_BYTES_MAX = 65535;
/** Beyond this the session's token is made anew while somebody is there: it is good for a day. */
const REFRESH_MS = 6 * 3600 * 1000;

let state, feed, outbox, side, thread;
let open = null; // the conversation that is shown
let view = "mine";
let refreshTimer;

// ------------------------------------------------------------------------------------------------ session

async function begin() {
  for (let ms = 1000; ; ms = Math.min(2 * ms, 15000)) {
    try {
      await restore();
      break;
    } catch (problem) {
      $("status").textContent = problem.message;
      await pause(ms);
    }
  }
  if (session.user) start();
  else enter();
}

async function enter(why) {
  stop();
  $("status").textContent = "";
  const user = await signIn(why);
  $("sign").hidden = Boolean(user);
  if (user) start();
}

function start() {
  stop();
  const me = session.user.id;
  state = new State(me);
  outbox = new Outbox(me, {
    changed: () => drawThread(),
    sent: (message) => {
      state.put(message);
      drawThread();
    },
    crossed: (messages) => {
      messages.forEach((message) => state.put(message));
      say("Somebody wrote while you did. Your message is held back.");
    },
    ended,
  });
  feed = new Feed(state, { told, status: (word, detail) => ($("status").textContent = STATUS[word](detail)), ended });
  $("panes").hidden = false;
  $("sign").hidden = false;
  $("sign").textContent = "Sign out";
  $("who").replaceChildren(bdi(session.user.username));
  side = new VirtualList($("list"), { key: (item) => item.id, draw: drawEntry, guess: 74, label: "Conversations" });
  refreshTimer = setInterval(() => document.hidden || api("POST", "/auth/refresh", {}).catch(() => {}), REFRESH_MS);
  route();
}

function stop() {
  clearInterval(refreshTimer);
  feed?.stop();
  outbox?.stop();
  side?.close();
  closeThread();
  state = feed = outbox = side = undefined;
  $("panes").hidden = true;
  $("who").replaceChildren();
  $("sign").textContent = "Sign in";
  $("main").replaceChildren();
  document.title = "Help desk";
}

/** The session is over: here, in another tab, on another machine, or by its age. */
function ended() {
  if (!state) return;
  const user = session.user;
  session.user = null;
  enter(user ? "You are signed out. Sign in to go on; what you wrote is kept." : "");
}

async function leave() {
  const waiting = outbox.entries().length;
  if (waiting && !confirm(`${waiting} of your messages are not sent yet. They stay on this device until you sign in again. Sign out?`)) return;
  try {
    await signOut();
    kept.keys(`hyperdesk-draft-${state.me}-`).forEach(kept.remove);
    enter();
  } catch (problem) {
    notice(problem.message);
  }
}

// ------------------------------------------------------------------------------------------------ news

/** What the feed brought is drawn once a frame, however much it is. */
let drawing = null;
function told(fresh, isWhole) {
  if (isWhole && open && state.threads.has(open)) readThread(open);
  for (const message of fresh.slice(-3)) say(`${message.senderUsername}: ${message.content.slice(0, 200)}`);
  drawing ??= setTimeout(() => {
    drawing = null;
    if (state) draw();
  }, 16);
}

const say = (text) => ($("news").textContent = text);

function draw() {
  const unread = state.unread();
  document.title = unread ? `(${unread}) Help desk` : "Help desk";
  drawSide();
  drawHead();
  drawThread();
  checkThread();
}

// ------------------------------------------------------------------------------------------------ views

function route() {
  if (!state) return;
  const [, name = "mine", id] = location.hash.split("/");
  notice("");
  if (name === "c" && /^\d+$/.test(id ?? "")) {
    if (view !== "queue") view = "mine";
    if (open !== id) openThread(id);
  } else {
    closeThread();
    view = ["mine", "queue", "history", "profile", "new"].includes(name) ? name : "mine";
    if (view === "queue") feed.answer();
    const isShort = view === "mine" || view === "queue";
    $("main").replaceChildren(el("div", { class: "page quiet" }, view === "queue" ? "Choose a question. You can read it before you take it."
      : view === "mine" ? "Choose a conversation, or ask a question." : "Loading …"));
    if (!isShort) showOther(view);
  }
  const isList = !open && (view === "mine" || view === "queue");
  $("panes").dataset.shows = isList ? "list" : "main";
  for (const word of ["mine", "queue", "history", "profile", "new"]) {
    if (word === view) $(`to-${word}`).setAttribute("aria-current", "page");
    else $(`to-${word}`).removeAttribute("aria-current");
  }
  draw();
  if (!isList) (document.querySelector("#main [data-first]") ?? $("main")).focus();
}

/** What is seldom looked at is loaded when it is. */
async function showOther(name) {
  const [here, views] = [state, await import("./views.js").catch(() => null)];
  if (state !== here || open || view !== name) return;
  if (views) views[name]({ state, outbox, ended });
  else notice("The server cannot be reached.");
  (document.querySelector("#main [data-first]") ?? $("main")).focus();
}

function drawSide() {
  const isQueue = view === "queue";
  const items = isQueue ? state.waiting() : state.mine();
  side.set(items);
  const shown = items.length < state.total ? `, ${items.length} shown` : "";
  if (!state.cursor) $("side-note").textContent = "Loading …";
  else if (isQueue) $("side-note").textContent = items.length ? `${state.total} waiting${shown}, longest first` : "Nobody waits.";
  else $("side-note").textContent = items.length ? "" : "You have no conversations yet. Ask a question.";
}

function drawEntry(conversation, row) {
  const unread = state.isMine(conversation) ? conversation.unreadCount : 0;
  const status = conversation.status === "waiting" ? "waits" : conversation.status;
  const about = conversation.questionerId === state.me
    ? (conversation.assignedExpertUsername ? ["answered by ", bdi(conversation.assignedExpertUsername)] : [status])
    : ["asked by ", bdi(conversation.questionerUsername)];
  row.append(el("a", { class: "entry", href: `#/c/${conversation.id}`, "data-focus": "row", "aria-current": conversation.id === open && "true" },
    el("span", { class: "title" }, bdi(conversation.title),
      unread ? el("span", { class: "count" }, String(unread), el("span", { class: "unseen" }, " unread")) : null),
    el("span", { class: "quiet" }, ...about, conversation.status === "resolved" ? ", resolved" : ""),
    el("span", { class: "quiet" }, time(view === "queue" ? conversation.createdAt : conversation.updatedAt))));
}

function markOpen() {
  for (const link of document.querySelectorAll("#list .entry")) {
    if (link.hash === `#/c/${open}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

/** Up and down go through a list as through a menu. */
$("list").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const row = step && event.target.closest(".item");
  if (!row) return;
  event.preventDefault();
  side.focus(side.items.indexOf(row.item) + step);
});

// ------------------------------------------------------------------------------------------------ a conversation

function closeThread() {
  if (open) keepDraft();
  thread?.close();
  open = thread = null;
}

const draftKey = (id) => `hyperdesk-draft-${state.me}-${id}`;

function keepDraft() {
  const text = $("text")?.value;
  if (text) kept.set(draftKey(open), text);
  else if (text === "") kept.remove(draftKey(open));
}

function openThread(id) {
  closeThread();
  open = id;
  const text = el("textarea", { id: "text", dir: "auto", "data-first": true, placeholder: "Write …", "aria-describedby": "write-hint" });
  text.value = kept.get(draftKey(id)) ?? "";
  text.addEventListener("input", keepDraft);
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    post();
  });
  const form = el("form", { class: "write", id: "write", onsubmit: (event) => (event.preventDefault(), post()) },
    el("label", { for: "text" }, el("span", { class: "unseen" }, "Your message"), text),
    el("span", { id: "write-hint", class: "unseen" }, "Enter sends, Shift and Enter begin a new line"),
    el("button", { class: "strong" }, "Send"));
  $("main").replaceChildren(el("div", { class: "head", id: "head" }),
    el("p", { id: "gap", class: "quiet", hidden: true }), el("div", { class: "viewport", id: "messages", tabindex: 0, "aria-label": "Messages", role: "region" }), form);
  thread = new VirtualList($("messages"), { key: (item) => item.name ?? item.id, draw: drawMessage, guess: 76, stick: true, seen: markRead, label: "Messages" });
  markOpen();
  readThread(id);
}

/** Reads a conversation and all its messages from the server. */
async function readThread(id) {
  const here = state;
  here.reading = id;
  try {
    const [conversation, messages] = await Promise.all([
      here.find(id) ? null : api("GET", `/conversations/${id}`), api("GET", `/conversations/${id}/messages`)]);
    if (conversation) here.putConversation(conversation.data);
    here.putThread(id, messages.data);
    if (open === id && state === here) draw();
  } catch (problem) {
    if (state !== here || open !== id) return;
    if (problem.status === 401) ended();
    else if (problem.status === 404 && here.queue.has(id)) notice("Its messages can be read once you have claimed it.");
    else if (problem.status === 404) notice("This conversation is not there, or is somebody else's.");
    else setTimeout(() => state === here && open === id && readThread(id), 2000);
  } finally {
    if (here.reading === id) here.reading = null;
  }
}

let checkTimer;
/** A conversation says how many messages it has: one that lacks some is read again. */
function checkThread() {
  clearTimeout(checkTimer);
  if (open && state.lacks(open)) checkTimer = setTimeout(() => state && open && state.lacks(open) && !state.reading && readThread(open), 1000);
}

function drawHead() {
  if (!open) return;
  const conversation = state.find(open);
  if (!conversation) return;
  const { id, status } = conversation;
  const isExpert = conversation.assignedExpertId === state.me;
  const isAsker = conversation.questionerId === state.me;
  const left = status === "waiting" && !isAsker && state.hasQueue && !state.queue.has(id);
  const about = [];
  if (left) about.push("no longer waits");
  else if (status === "waiting") about.push(isAsker ? placeInQueue(id) : "waits for an expert");
  else if (isExpert) about.push(status === "resolved" ? "resolved by you" : "you answer");
  else about.push(status === "resolved" ? "resolved, answered by " : "answered by ", bdi(conversation.assignedExpertUsername ?? "nobody"));
  if (!isAsker) about.push(", asked by ", bdi(conversation.questionerUsername));
  const act = (word, path, done) => el("button", { id: path, "data-focus": path, class: path === "claim" && "strong", onclick: (event) => decide(event.target, id, path, done) }, word);
  const head = $("head");
  const focused = head.contains(document.activeElement) && document.activeElement.dataset.focus;
  // Drawn anew only where it changed: a button that is pressed stays the same button.
  const signature = JSON.stringify([conversation.title, status, isExpert, left, state.positions.get(id), conversation.assignedExpertUsername]);
  $("write").hidden = !isAsker && !isExpert;
  if (head.dataset.signature === signature) return;
  head.dataset.signature = signature;
  head.replaceChildren(
    el("a", { class: "back", href: view === "queue" ? "#/queue" : "#/mine" }, "Back"),
    el("div", { class: "about" }, el("h2", null, bdi(conversation.title)), el("p", { class: "quiet", id: "about" }, ...about)),
    el("div", { class: "row" },
      status === "waiting" && !isAsker && !left ? act("Claim", "claim", "It is yours to answer.") : null,
      isExpert && status === "active" ? act("Unclaim", "unclaim", "It waits for another expert.") : null,
      isExpert && status === "active" ? act("Resolve", "resolve", "Resolved.") : null));
  if (focused) (head.querySelector(`[data-focus="${focused}"]`) ?? $("text") ?? $("main")).focus();
}

function placeInQueue(id) {
  const place = state.positions.get(id);
  if (!place) return "waits for an expert";
  const seconds = place.expectedWaitSeconds;
  const wait = seconds == null ? "" : seconds < 90 ? ", about a minute" : `, about ${Math.round(seconds / 60)} minutes`;
  return `waits as number ${place.position} in the queue${wait}`;
}

async function decide(button, id, path, done) {
  button.disabled = true;
  const here = state;
  try {
    await api("POST", `/expert/conversations/${id}/${path}`, {});
    notice(done, false);
    // The feed tells it, too; whoever pressed the button need not wait for that.
    const answer = await api("GET", `/conversations/${id}`).catch(() => null);
    if (answer && here === state) here.putConversation(answer.data);
    if (path === "claim") {
      here.queue.delete(id);
      readThread(id);
    }
  } catch (problem) {
    if (problem.status === 401) return ended();
    const winner = problem.body?.assignedExpertUsername;
    if (path === "claim" && [422, 404, 409].includes(problem.status)) {
      here.queue.delete(id);
      const name = winner ?? here.conversations.get(id)?.assignedExpertUsername;
      notice(`${name ?? "Another expert"} was faster and has this conversation.`);
    } else {
      notice(problem.message);
    }
  } finally {
    button.disabled = false;
  }
  if (state === here) {
    draw();
    if (path === "claim" && !$("write")?.hidden) $("text")?.focus();
  }
}

function drawThread() {
  if (!open || !thread || !state) return;
  const sent = state.messages(open);
  const lines = [...sent, ...outbox.of(open).map((entry) => ({ ...entry, why: outbox.why }))];
  thread.set(lines.map(sameAsBefore));
  const missing = state.threads.get(open)?.missing ?? 0;
  $("gap").hidden = !missing;
  $("gap").textContent = missing ? `${missing} earlier messages are not shown.` : "";
}

/** An entry on its way is drawn anew only where something about it changed. */
const drawn = new Map();
function sameAsBefore(line) {
  if (!line.name) return line;
  const text = JSON.stringify(line);
  if (drawn.get(line.name)?.text !== text) drawn.set(line.name, { text, line });
  return drawn.get(line.name).line;
}

function drawMessage(message, row) {
  const isMine = message.name || message.senderId === state.me;
  const by = message.name
    ? [message.problem ? "not sent" : message.why ? `is sent later: ${message.why}` : "on its way …"]
    : [isMine ? "you" : bdi(message.senderUsername), message.senderRole === "expert" ? ", expert, " : ", ", time(message.timestamp),
      isMine && message.isRead ? ", read" : ""];
  row.append(el("div", { class: isMine ? "message mine" : "message" },
    el("p", { class: "text", dir: "auto" }, message.content),
    el("p", { class: "by" }, ...by),
    message.problem ? el("div", null, el("p", { class: "bad" }, message.problem),
      el("div", { class: "row" },
        el("button", { "data-focus": "again", onclick: () => outbox.retry(message, guard()) }, message.isCrossed ? "Send now" : "Send again"),
        el("button", { "data-focus": "change", onclick: () => change(message) }, "Change"),
        el("button", { "data-focus": "discard", onclick: () => outbox.discard(message) }, "Discard"))) : null));
}

/** The newest message that an expert has on the screen: what comes after it holds the reply back. */
function guard() {
  const conversation = state.find(open);
  if (conversation?.assignedExpertId !== state.me) return undefined;
  return state.messages(open).at(-1)?.id;
}

function change(entry) {
  $("text").value = [entry.content, $("text").value].filter(Boolean).join("\n");
  outbox.discard(entry);
  keepDraft();
  $("text").focus();
}

function post() {
  const content = $("text").value;
  if (!content.trim()) return;
  const bytes = new TextEncoder().encode(content).length;
  if (bytes > CONTENT_BYTES_MAX) {
    notice(`That is ${bytes - CONTENT_BYTES_MAX} bytes too long: a message has at most ${CONTENT_BYTES_MAX}.`);
    return;
  }
  notice("");
  $("text").value = "";
  keepDraft();
  thread.atEnd = true;
  outbox.add(open, content, guard());
}

// ------------------------------------------------------------------------------------------------ read marks

const toRead = new Set();
let isReading = false;
/** What is on the screen of somebody who looks is read. */
function markRead(messages) {
  const conversation = open && state.find(open);
  if (document.hidden || !conversation || !state.isMine(conversation)) return;
  for (const message of messages) {
    if (!message.name && message.senderId !== state.me && !message.isRead) toRead.add(message.id);
  }
  if (!isReading && toRead.size) sendRead();
}

async function sendRead() {
  isReading = true;
  const here = state;
  for (const id of toRead) {
    try {
      await api("PUT", `/messages/${id}/read`, {});
      const thread = [...here.threads.values()].find((known) => known.byId.has(id));
      const message = thread?.byId.get(id);
      if (message) {
        thread.byId.set(id, { ...message, isRead: true });
        thread.list = null;
      }
      toRead.delete(id);
    } catch (problem) {
      if (!problem.isPassing) toRead.delete(id);
      else await pause(Math.max(problem.retryAfterMs, 2000));
    }
    if (here !== state) break;
  }
  isReading = false;
  if (here !== state) toRead.clear();
}
document.addEventListener("visibilitychange", () => thread?.later());

// ------------------------------------------------------------------------------------------------ beginning

$("sign").addEventListener("click", () => (session.user ? leave() : enter()));
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  (document.querySelector("#main [data-first]") ?? $("main")).focus();
});
window.addEventListener("hashchange", route);
window.addEventListener("pagehide", () => open && keepDraft());
followSession(async () => {
  const before = session.user?.id;
  await restore().catch(() => {});
  if (session.user?.id === before) return;
  document.querySelector("dialog")?.close();
  if (session.user) start();
  else enter("You signed out in another tab.");
});
begin();
