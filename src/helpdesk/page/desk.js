// The help desk's page: what is shown, and what is done about it. What is known is in state.js, how it comes in
// feed.js, how messages go out in outbox.js.

import { $, api, bdi, el, followSession, kept, notice, pause, restore, session, signIn, time } from "./base.js";
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
  offline: () => "Offline: messages wait",
};
const CONTENT_BYTES_MAX = 65535;
/** Beyond this the session's token is made anew while somebody is there: it is good for a day. */
const REFRESH_MS = 6 * 3600 * 1000;

const VIEWS = ["mine", "queue", "history", "profile", "new"];

let state, feed, outbox, side, thread;
// The conversation that is shown, and what was known of it last.
let open = null;
let shown = null;
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
      say("Your message is held back.");
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
  enter(user ? "You are signed out. What you wrote is kept." : "");
}

// ------------------------------------------------------------------------------------------------ news

/** What the feed brought is drawn once a frame, however much it is. */
let drawing = null;
function told(fresh, isWhole) {
  if (isWhole && open && state.threads.has(open)) readThread(open);
  const lines = fresh.slice(-3).map((message) => `${message.senderUsername}: ${message.content.slice(0, 200)}`);
  if (lines.length) say(lines.join("\n"));
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
    view = VIEWS.includes(name) ? name : "mine";
    if (view === "queue") feed.answer();
    const empty = { mine: "Choose a conversation, or ask a question.", queue: "Choose a question. Read it, then claim it." }[view];
    $("main").replaceChildren(el("div", { class: "page quiet" }, empty ?? "Loading …"));
    if (!empty) showOther(view);
  }
  const isList = !open && (view === "mine" || view === "queue");
  $("panes").dataset.shows = isList ? "list" : "main";
  for (const word of VIEWS) mark($(`to-${word}`), word === view);
  draw();
  markOpen();
  if (!isList) focusFirst();
}

const focusFirst = () => (document.querySelector("#main [data-first]") ?? $("main")).focus();

/** What is seldom looked at is loaded when it is. */
async function showOther(name) {
  const [here, loaded] = [state, await views().catch(() => null)];
  if (state !== here || open || view !== name) return;
  if (loaded) loaded[name](desk());
  else notice("The server cannot be reached.");
  focusFirst();
}

function drawSide() {
  const isQueue = view === "queue";
  const items = isQueue ? state.waiting() : state.mine();
  side.set(items);
  const shown = items.length < state.total ? `, ${items.length} shown` : "";
  $("side-note").textContent = !state.cursor ? "Loading …"
    : isQueue ? (items.length ? `${state.total} waiting${shown}, longest first` : "Nobody waits.")
    : items.length ? "" : "You have no conversations yet.";
}

function drawEntry(conversation, row) {
  const unread = state.isMine(conversation) ? conversation.unreadCount : 0;
  const status = conversation.status === "waiting" ? "waits" : conversation.status;
  const { assignedExpertUsername: expert, questionerUsername: asker } = conversation;
  const about = conversation.questionerId !== state.me ? ["asked by ", bdi(asker)] : expert ? ["answered by ", bdi(expert)] : [status];
  row.append(el("a", { class: "entry", href: `#/c/${conversation.id}`, "data-focus": "row", "aria-current": conversation.id === open && "page" },
    el("span", { class: "title" }, bdi(conversation.title),
      unread ? el("span", { class: "count" }, String(unread), el("span", { class: "unseen" }, " unread")) : null),
    el("span", { class: "quiet" }, ...about, conversation.status === "resolved" ? ", resolved" : ""),
    el("span", { class: "quiet" }, time(view === "queue" ? conversation.createdAt : conversation.updatedAt))));
}

function markOpen() {
  for (const link of document.querySelectorAll("#list .entry")) mark(link, link.hash === `#/c/${open}`);
}

const mark = (link, isOpen) => (isOpen ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current"));

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
  shown = null;
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
  const found = state.find(open);
  // One that somebody else has is not told of any more; what it was stays on the screen.
  const conversation = (shown = found ?? (shown && { ...shown, status: "waiting", assignedExpertId: null }));
  if (!conversation) return;
  const { id, status, title, assignedExpertUsername: expert } = conversation;
  const isExpert = conversation.assignedExpertId === state.me;
  const isAsker = conversation.questionerId === state.me;
  const left = status === "waiting" && !isAsker && state.hasQueue && !(found && state.queue.has(id));
  const about = [];
  if (left) about.push("no longer waits");
  else if (status === "waiting") about.push(isAsker ? placeInQueue(id) : "waits for an expert");
  else if (isExpert) about.push(status === "resolved" ? "resolved by you" : "you answer");
  else about.push(status === "resolved" ? "resolved, answered by " : "answered by ", bdi(expert ?? "nobody"));
  if (!isAsker) about.push(", asked by ", bdi(conversation.questionerUsername));
  const act = (word, done) => {
    const path = word.toLowerCase();
    return Object.assign(button(word, (event) => decide(event.target, id, path, done)), { id: path });
  };
  const head = $("head");
  const focused = head.contains(document.activeElement) && document.activeElement.dataset.focus;
  // Drawn anew only where it changed: a button that is pressed stays the same button.
  const signature = JSON.stringify([title, status, isExpert, left, state.positions.get(id), expert]);
  $("write").hidden = !isAsker && !isExpert;
  if (head.dataset.signature === signature) return;
  head.dataset.signature = signature;
  head.replaceChildren(
    el("a", { class: "back", href: view === "queue" ? "#/queue" : "#/mine" }, "Back"),
    el("div", { class: "about" }, el("h2", null, bdi(title)), el("p", { class: "quiet", id: "about" }, ...about)),
    el("div", { class: "row" },
      status === "waiting" && !isAsker && !left ? act("Claim", "It is yours to answer.") : null,
      isExpert && status === "active" ? act("Unclaim", "It waits again.") : null,
      isExpert && status === "active" ? act("Resolve", "Resolved.") : null));
  if (focused) (head.querySelector(`[data-focus="${focused}"]`) ?? $("text") ?? $("main")).focus();
}

function placeInQueue(id) {
  const place = state.positions.get(id);
  if (!place) return "waits for an expert";
  const minutes = Math.max(1, Math.round(place.expectedWaitSeconds / 60));
  return `waits as number ${place.position} in the queue${place.expectedWaitSeconds == null ? "" : `, about ${minutes} min`}`;
}

const views = () => import("./views.js");
const desk = () => ({ state, outbox, ended, enter, draw, readThread, isHere: (here) => here === state });
const decide = async (...what) => (await views()).decide(desk(), ...what);

function drawThread() {
  if (!open || !thread || !state) return;
  const sent = state.messages(open);
  const lines = [...sent, ...outbox.of(open).map((entry) => ({ ...entry, why: outbox.why }))];
  thread.set(lines.map(sameAsBefore));
  const missing = state.threads.get(open)?.missing ?? 0;
  $("gap").hidden = missing <= 0;
  $("gap").textContent = `${missing} earlier messages are not shown.`;
}

/** An entry on its way is drawn anew only where something about it changed. */
const drawn = new Map();
function sameAsBefore(line) {
  if (!line.name) return line;
  const text = JSON.stringify(line);
  if (drawn.get(line.name)?.text !== text) drawn.set(line.name, { text, line });
  return drawn.get(line.name).line;
}

const button = (word, onclick) => el("button", { "data-focus": word, onclick }, word);

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
      el("div", { class: "row" }, button(message.isCrossed ? "Send now" : "Send again", () => outbox.retry(message, guard())),
        button("Change", () => change(message)), button("Discard", () => outbox.discard(message)))) : null));
}

/** The newest message that an expert has on the screen: what comes after it holds the reply back. */
function guard() {
  const conversation = state.find(open);
  if (conversation?.assignedExpertId !== state.me) return undefined;
  return state.messages(open).at(-1)?.id ?? "0";
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
    notice(`That is ${bytes - CONTENT_BYTES_MAX} bytes too long.`);
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
  const loaded = await views().catch(() => null);
  await loaded?.sendRead(here, toRead, () => here === state);
  isReading = false;
  if (here !== state) toRead.clear();
}
document.addEventListener("visibilitychange", () => thread?.later());

// ------------------------------------------------------------------------------------------------ beginning

$("sign").addEventListener("click", () => (session.user ? views().then(({ leave }) => leave(desk())) : enter()));
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  focusFirst();
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
