// The client's loop: state, cursor, wait, 410, 503, backoff. Read `lead` first.
//
// All tabs share one connection, as a browser allows six for each host. The tab that holds a lock leads: it asks the
// server and tells the others on a channel. A hidden tab gives the lock away, so where all are hidden nothing is
// asked; it catches up by its cursor when it is looked at again.
//
// News comes by a stream of server-sent events; where that does not come through, by polls that the server holds;
// where these do not, by polls every few seconds. (Not by `EventSource`, which does not tell 410 from 503 or 401.)

import { Refusal, api, kept, pause, randomKey, refusalOf } from "./base.js";

/** The server's first byte of a stream is the state itself: it is there at once, or is held back on the way. */
const FIRST_BYTE_MS = 10000;
/** The server sends something every 15 s. */
const SILENCE_MS = 25000;
const HELD_S = 25;
/** How long a way that did not work is not tried again. */
const OTHER_WAY_MS = 300000;
/** So often a full server is asked for a place. */
const REFUSED_MAX = 4;
const FULL_MS = 30000;
const BACKOFF_MS = 500;
/** A tab that was hidden so long gives the lock away. Short enough to cost nothing, longer than a look elsewhere. */
const HIDDEN_MS = 10000;

export class Feed {
  /** `told(fresh)` after each change, with the messages that are new; `status(word, detail)`; `ended()` on a 401. */
  constructor(state, { told, status, ended }) {
    Object.assign(this, { state, told, report: status, ended });
    this.name = `hyperdesk-feed-${state.me}`;
    this.id = randomKey();
    this.way = "stream";
    this.isOver = false;
    this.channel = new BroadcastChannel(this.name);
    this.channel.onmessage = ({ data }) => this.heard(data);
    this.over = new AbortController();
    const { signal } = this.over;
    document.addEventListener("visibilitychange", () => this.looked(), { signal });
    window.addEventListener("online", () => this.wake?.(), { signal });
    this.status("connecting");
    this.looked();
  }

  stop() {
    this.isOver = true;
    this.over.abort();
    clearTimeout(this.hiddenTimer);
    this.leading?.abort();
    this.channel.close();
  }

  status(word, detail) {
    this.said = { word, detail };
    this.report(word, detail);
    if (this.isLeader) this.tell({ kind: "status", word, detail });
  }

  // ---------------------------------------------------------------------------------------------- tabs

  looked() {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) {
      this.hiddenTimer = setTimeout(() => this.leading?.abort(), HIDDEN_MS);
    } else {
      this.contend();
      this.wake?.();
    }
  }

  /** Leads as soon as no other tab does, until this one is hidden or closed. */
  async contend() {
    if (this.leading || this.isOver) return;
    const { signal } = (this.leading = new AbortController());
    this.tell({ kind: "hello", from: this.id, cursor: this.state.cursor });
    const lead = async () => {
      this.isLeader = true;
      this.tell({ kind: "lead" });
      await this.lead(signal);
    };
    try {
      // Without locks (plain HTTP on another host than this one) each tab asks for itself.
      await (navigator.locks ? navigator.locks.request(this.name, { signal }, lead) : lead());
    } catch (problem) {
      if (problem.name !== "AbortError") throw problem;
    } finally {
      this.isLeader = false;
      this.leading = null;
      if (!document.hidden && !this.isOver) this.contend();
    }
  }

  tell(message) {
    if (navigator.locks && !this.isOver) this.channel.postMessage(message);
  }

  heard(message) {
    switch (message.kind) {
      case "lead":
        this.tell({ kind: "hello", from: this.id, cursor: this.state.cursor });
        return;
      case "hello":
        if (!this.isLeader) return;
        this.tell({ kind: "status", ...this.said });
        if (this.state.cursor && message.cursor !== this.state.cursor) this.tell({ kind: "state", to: message.from, state: this.state.snapshot() });
        return;
      case "state":
        if (this.isLeader || message.to !== this.id) return;
        this.state.restore(message.state);
        this.told([], true);
        return;
      case "update":
        if (this.isLeader) return;
        // A tab that missed something asks for all of it; what it missed is not lost, but not known here.
        if (!message.isWhole && message.after !== this.state.cursor) this.tell({ kind: "hello", from: this.id, cursor: this.state.cursor });
        else this.told(this.state.apply(message.update, message.isWhole), message.isWhole);
        return;
      case "status":
        if (!this.isLeader) this.report(message.word, message.detail);
        return;
      case "parts":
        this.partsChanged();
    }
  }

  /** The queue is wanted by those who answer; others are not woken by every new question. */
  static get parts() {
    return kept.get("hyperdesk-answering") ? "" : "conversations,messages";
  }

  /** Asks for the queue from now on, in all tabs. */
  answer() {
    if (kept.get("hyperdesk-answering") && this.state.hasQueue) return;
    kept.set("hyperdesk-answering", "1");
    this.tell({ kind: "parts" });
    this.partsChanged();
  }

  partsChanged() {
    if (!this.isLeader || this.state.hasQueue) return;
    this.state.cursor = null;
    this.again?.();
  }

  // ---------------------------------------------------------------------------------------------- the loop

  async lead(signal) {
    let failures = 0;
    if (!Feed.parts && !this.state.hasQueue) this.state.cursor = null;
    while (!signal.aborted) {
      if (this.way !== "stream" && Date.now() > this.otherWayUntil) this.way = "stream";
      const turn = new AbortController();
      const end = () => turn.abort();
      signal.addEventListener("abort", end);
      this.again = end;
      this.hasHeard = false;
      try {
        await this[this.way](turn.signal);
        failures = 0;
      } catch (problem) {
        if (signal.aborted) return;
        if (this.hasHeard) failures = 0;
        // Other parts are wanted, or all again.
        if (turn.signal.aborted) continue;
        if (problem.status === 401) {
          this.ended();
          return;
        }
        if (problem.status === 410) {
          this.status("catching up");
          this.state.cursor = null;
          // Everybody may be told at once, when a server comes back: not all at the same moment, then.
          await this.rest(Math.random() * 1000, signal);
          continue;
        }
        failures += 1;
        await this.chooseWay(problem, failures);
        const backoff = BACKOFF_MS * 2 ** Math.min(failures - 1, 4) * (0.75 + Math.random() / 2);
        const waits = Math.max(problem.retryAfterMs ?? 0, backoff);
        this.status(problem.status ? "busy" : navigator.onLine ? "away" : "offline", Math.ceil(waits / 1000));
        await this.rest(waits, signal);
      } finally {
        signal.removeEventListener("abort", end);
      }
    }
  }

  /** Gives a way up for the next one where it fails twice although the server is there, or is held back. */
  async chooseWay(problem, failures) {
    if (this.way === "poll") return;
    let until = OTHER_WAY_MS;
    if (problem.status === 503) {
      // As many may wait as may: a plain poll takes no place. Where it is the database, that is refused as well.
      if (failures < REFUSED_MAX) return;
      [this.way, until] = ["held", FULL_MS];
    } else if (!problem.isHeldBack) {
      const isUp = !this.hasHeard && problem.status !== 429 && (await api("GET", "/health", undefined, { timeoutMs: 5000 }).then(() => true, () => false));
      const wasUp = this.isSuspect;
      this.isSuspect = isUp;
      if (!isUp || !wasUp) return;
    }
    this.isSuspect = false;
    this.way = this.way === "stream" ? "held" : "poll";
    this.otherWayUntil = Date.now() + until;
  }

  /** Waits, but not after the network came back, or somebody looks again. */
  async rest(ms, signal) {
    const woken = new Promise((wake) => {
      this.wake = wake;
      signal.addEventListener("abort", wake, { once: true });
    });
    await Promise.race([pause(ms), woken]);
    this.wake = null;
  }

  took(update, isWhole, after) {
    this.hasHeard = true;
    const fresh = this.state.apply(update, isWhole);
    this.tell({ kind: "update", update, isWhole, after });
    this.told(fresh, isWhole);
    if (this.state.lacksQueue()) {
      this.state.cursor = null;
      this.again?.();
    }
  }

  url(path, more = {}) {
    const query = new URLSearchParams(more);
    if (this.state.cursor) query.set("cursor", this.state.cursor);
    if (Feed.parts) query.set("parts", Feed.parts);
    return `${path}?${query}`;
  }

  async stream(signal) {
    const control = new AbortController();
    const abort = () => control.abort();
    signal.addEventListener("abort", abort);
    let timer;
    let isSilent = false;
    const patience = (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        isSilent = true;
        abort();
      }, ms);
    };
    let isFirst = !this.state.cursor;
    patience(isFirst ? FIRST_BYTE_MS : SILENCE_MS);
    try {
      const response = await fetch(this.url("/api/updates/stream"), {
        headers: { Accept: "text/event-stream" }, cache: "no-store", credentials: "same-origin", signal: control.signal,
      });
      if (!response.ok) throw await refusalOf(response);
      const isLive = () => this.said.word === "live" || this.status("live");
      if (!isFirst) isLive();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) {
          if (this.hasHeard) return;
          throw new Refusal(0);
        }
        patience(SILENCE_MS);
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        for (const lines of events.map((event) => event.split("\n"))) {
          this.hasHeard = true;
          const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
          if (field("event") === "reset") throw new Refusal(410);
          if (field("event") !== "updates") continue;
          const after = this.state.cursor;
          this.took({ ...JSON.parse(field("data")), cursor: field("id") }, isFirst, after);
          isFirst = false;
        }
        if (!isFirst) isLive();
      }
    } catch (problem) {
      if (problem instanceof Refusal) throw problem;
      // The server was silent from the first byte on: something on the way holds the stream back.
      throw Object.assign(new Refusal(0), { isHeldBack: isSilent && !this.hasHeard });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      abort();
    }
  }

  async held(signal) {
    const hasCursor = Boolean(this.state.cursor);
    if (hasCursor) this.status("live");
    await this.ask(hasCursor ? { wait: HELD_S } : {}, signal, (HELD_S + 15) * 1000);
    this.status("live");
  }

  async poll(signal) {
    const update = await this.ask({}, signal, 20000);
    this.status("polling", Math.round((update?.nextPollMs ?? 5000) / 1000));
    await this.rest(update?.nextPollMs ?? 5000, signal);
  }

  async ask(more, signal, timeoutMs) {
    const after = this.state.cursor;
    const { status, data, headers } = await api("GET", this.url("/api/updates", more), undefined, { signal, timeoutMs });
    this.hasHeard = true;
    if (signal.aborted) return data;
    if (status === 204) this.took({ cursor: headers.get("x-updates-cursor") }, false, after);
    else this.took(data, !after, after);
    return data;
  }
}
