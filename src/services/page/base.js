// What all pages share: requests, the session, elements and times. Nothing here makes HTML of a text: the page's
// policy (trusted types) forbids it.

/** Names of the services that this server has. */
export const services = document.documentElement.dataset.services.split(" ");

export const $ = (id) => document.getElementById(id);

/** An element: its attributes (`on…` are listeners), then its children; a text stays a text. */
export function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A text that somebody wrote: its own direction, and no influence on that of what is around it. */
export const bdi = (text) => el("bdi", { dir: "auto" }, text);

/** Why a request failed. `status` is 0 where there was no answer; the message is a sentence for people. */
export class Refusal extends Error {
  constructor(status, body, retryAfter) {
    super(sentence(status, body, retryAfter));
    this.status = status;
    this.body = body ?? {};
    this.retryAfterMs = retryAfter > 0 ? retryAfter * 1000 : 0;
  }
  /** Whether the same request may succeed later, as it is. */
  get isPassing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

function sentence(status, body, retryAfter) {
  const again = retryAfter > 0 ? ` Try again in ${retryAfter} s.` : " Try again soon.";
  if (status === 0) return "The server cannot be reached.";
  if (status === 429) return "Too many tries from your address." + again;
  if (status === 413) return "That is too long.";
  if (status === 503) return "The server is busy, or its database is away." + again;
  if (status >= 500) return "Something went wrong at the server." + again;
  const texts = body?.errors ?? (body?.error ? [body.error] : []);
  return texts.length ? texts.map((text) => String(text).replace(/\.?$/, ".")).join(" ") : `The server refused that (${status}).`;
}

export async function refusalOf(response) {
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  let body = {};
  try { body = await response.json(); } catch { /* not JSON: a proxy's page */ }
  return new Refusal(response.status, body, retryAfter);
}

/** One request of JSON; resolves to `{status, data, headers}`, rejects with a `Refusal`. */
export async function api(method, path, body, { headers = {}, timeoutMs = 20000, signal } = {}) {
  try {
    const isForm = body instanceof FormData;
    const response = await fetch(path, {
      method, cache: "no-store", credentials: "same-origin", signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), signal].filter(Boolean)),
      headers: body === undefined || isForm ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined || isForm ? body : JSON.stringify(body),
    });
    if (!response.ok) throw await refusalOf(response);
    const text = await response.text();
    return { status: response.status, data: text ? JSON.parse(text) : null, headers: response.headers };
  } catch (problem) {
    throw problem instanceof Refusal ? problem : new Refusal(0);
  }
}

/** 128 random bits. (`crypto.randomUUID` is missing on plain HTTP.) */
export function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What a browser keeps for us; a browser that keeps nothing loses only what a reload would have brought back. */
export const kept = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); return true; } catch { return false; } },
  remove(key) { try { localStorage.removeItem(key); } catch { /* it was not kept */ } },
  keys(prefix) { try { return Object.keys(localStorage).filter((key) => key.startsWith(prefix)); } catch { return []; } },
};

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const today = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const thisYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** A time in the reader's own zone and language. */
export function time(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return el("span");
  const format = at.toDateString() === new Date().toDateString() ? today : thisYear;
  return el("time", { datetime: iso, title: full.format(at) }, format.format(at));
}

/** Tells people, and screen readers, of something; an empty text takes it away. */
export function notice(text, isBad = true) {
  const place = $("notice");
  place.className = isBad ? "bad" : "good";
  place.textContent = text;
}

// ------------------------------------------------------------------------------------------------ session

/** Who is signed in, in all tabs of this browser. */
export const session = { user: null };
const tabs = new BroadcastChannel("hyperdesk-session");

/** Asks who is signed in, by the cookie; `null` for nobody. */
export async function restore() {
  try {
    return (session.user = (await api("GET", "/auth/me")).data);
  } catch (problem) {
    if (problem.status !== 401 && problem.status !== 404) throw problem;
    return (session.user = null);
  }
}

export async function signOut() {
  await api("POST", "/auth/logout", {});
  session.user = null;
  tellTabs();
}

/** Calls `changed` when another tab signed somebody in or out. */
export function followSession(changed) {
  tabs.onmessage = changed;
}

/** Shows the sign-in and resolves to the user, or to `null` where it was closed. */
export async function signIn(why) {
  const { ask } = await import("./sign.js");
  return ask(why);
}

/** Tells the other tabs that somebody was signed in or out. */
export const tellTabs = () => tabs.postMessage("changed");
