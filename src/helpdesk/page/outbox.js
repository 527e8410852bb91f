// Messages on their way. Each is kept by the browser until the server has it, and sent in order, by one tab at a
// time, with a key that the server knows it by: so a lost answer, a reload or an outage neither loses nor doubles it.

import { api, kept, randomKey } from "./base.js";

const RETRY_MS = 1000;

export class Outbox {
  /** `changed()` when what is on its way changed, `sent(message)`, `crossed(messages)`, `ended()` on a 401. */
  constructor(user, { changed, sent, crossed, ended }) {
    Object.assign(this, { changed, sent, crossed, ended });
    this.prefix = `hyperdesk-out-${user}-`;
    this.lock = `hyperdesk-send-${user}`;
    this.memory = new Map();
    this.failures = 0;
    this.over = new AbortController();
    const { signal } = this.over;
    window.addEventListener("storage", (event) => event.key?.startsWith(this.prefix) && this.changed(), { signal });
    window.addEventListener("online", () => this.flush(), { signal });
    this.flush();
  }

  stop() {
    this.isOver = true;
    clearTimeout(this.timer);
    this.over.abort();
  }

  entries() {
    const texts = new Map(this.memory);
    for (const name of kept.keys(this.prefix)) texts.set(name, kept.get(name));
    const entries = [...texts].filter(([, text]) => text).map(([name, text]) => ({ name, ...JSON.parse(text) }));
    return entries.sort((a, b) => a.order - b.order);
  }

  of(conversationId) {
    return this.entries().filter((entry) => entry.conversationId === conversationId);
  }

  save({ name, ...entry }) {
    const text = JSON.stringify(entry);
    // A browser that keeps nothing more still has this page's memory.
    if (kept.set(name, text)) this.memory.delete(name);
    else this.memory.set(name, text);
  }

  remove(name) {
    kept.remove(name);
    this.memory.delete(name);
  }

  /** Sends a text; `lastSeen` holds it back where something newer of somebody else's is there. */
  add(conversationId, content, lastSeen) {
    const order = Math.max(Date.now(), ...this.entries().map((entry) => entry.order + 1));
    const key = randomKey();
    this.save({ name: this.prefix + key, key, order, conversationId, content, lastSeen, at: new Date().toISOString() });
    this.changed();
    this.flush();
  }

  /** Sends once more what failed or was held back: another request, so with another key. */
  retry(entry, lastSeen) {
    this.save({ ...entry, key: randomKey(), lastSeen, problem: undefined, isCrossed: undefined });
    this.changed();
    this.flush();
  }

  discard(entry) {
    this.remove(entry.name);
    this.changed();
    this.flush();
  }

  async flush() {
    if (this.isFlushing || this.isOver) {
      this.isAgain = true;
      return;
    }
    clearTimeout(this.timer);
    this.isFlushing = true;
    do {
      this.isAgain = false;
      await (navigator.locks ? navigator.locks.request(this.lock, () => this.send()) : this.send());
    } while (this.isAgain && !this.isOver);
    this.isFlushing = false;
  }

  async send() {
    const blocked = new Set();
    for (const entry of this.entries()) {
      if (this.isOver) return;
      // What comes after one that waits for its writer waits, too: the order is theirs.
      if (entry.problem || blocked.has(entry.conversationId)) {
        blocked.add(entry.conversationId);
        continue;
      }
      const body = { conversationId: entry.conversationId, content: entry.content, lastSeenMessageId: entry.lastSeen };
      try {
        const { data } = await api("POST", "/messages", body, { headers: { "Idempotency-Key": entry.key } });
        this.failures = 0;
        this.remove(entry.name);
        this.sent(data);
      } catch (problem) {
        if (this.isOver) return;
        if (problem.status === 401) {
          this.ended();
          return;
        }
        if (problem.isPassing) {
          const waits = Math.max(problem.retryAfterMs, RETRY_MS * 2 ** Math.min(this.failures, 4));
          this.failures += 1;
          this.why = problem.message;
          this.timer = setTimeout(() => this.flush(), waits);
          this.changed();
          return;
        }
        const isCrossed = problem.status === 409 && Array.isArray(problem.body.messages);
        if (isCrossed) this.crossed(problem.body.messages);
        this.save({ ...entry, isCrossed, problem: isCrossed ? "Somebody wrote meanwhile: read it, then send or change yours." : problem.message });
        blocked.add(entry.conversationId);
      }
      this.why = "";
      this.changed();
    }
  }
}
