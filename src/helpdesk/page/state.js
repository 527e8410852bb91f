// What this browser knows of the help desk. Only the feed and answers change it, and it draws nothing.

/** Ids are decimal digits, longer than numbers can be. */
export const byId = (a, b) => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);

/** The server's lists have so many, the newest. */
const LIST_MAX = 1000;
/** The server gives the first hundred of a longer queue: it is read again when so many of them were claimed. */
const CLAIMED_MAX = 50;

export class State {
  constructor(me) {
    this.me = String(me);
    this.threads = new Map();
    this.forget();
  }

  forget() {
    this.cursor = null;
    this.hasQueue = false;
    this.conversations = new Map();
    this.queue = new Map();
    this.total = 0;
    this.claimed = 0;
    this.positions = new Map();
  }

  /** What another tab needs to go on from here. */
  snapshot() {
    return { ...this, threads: null };
  }

  restore(snapshot) {
    Object.assign(this, snapshot, { threads: this.threads });
  }

  /** Takes one answer of the feed; `isWhole` for one that was asked without a cursor. Gives the new messages. */
  apply(update, isWhole) {
    if (isWhole) this.forget();
    this.cursor = update.cursor ?? this.cursor;
    for (const id of update.unassigned ?? []) this.drop(id);
    for (const conversation of update.conversations ?? []) this.conversations.set(conversation.id, conversation);
    if (update.queue) {
      this.hasQueue = true;
      for (const conversation of update.queue.waiting ?? []) this.queue.set(conversation.id, conversation);
      for (const id of update.queue.left ?? []) this.claimed += this.queue.delete(id);
      this.total = update.queue.total ?? this.queue.size;
    }
    for (const place of update.positions ?? []) this.positions.set(place.conversationId, place);
    return (update.messages ?? []).filter((message) => this.put(message));
  }

  /** Somebody else's to answer: nothing more of it is told until it comes back. */
  drop(id) {
    this.conversations.delete(id);
    const thread = this.threads.get(id);
    if (thread) thread.missing = -1;
  }

  /** Takes a message where its thread is open; tells whether it is somebody else's that was not known. */
  put(message) {
    const isTheirs = message.senderId !== this.me;
    const thread = this.threads.get(message.conversationId);
    if (!thread) return isTheirs && !message.isRead;
    const known = thread.byId.get(message.id);
    // What was read stays read: an answer may be older than what the feed told.
    thread.byId.set(message.id, { ...message, isRead: message.isRead || known?.isRead === true });
    thread.list = null;
    return isTheirs && !known;
  }

  /** Takes a conversation from an answer, unless the feed told something newer. */
  putConversation(conversation) {
    const known = this.conversations.get(conversation.id);
    if (!known || known.updatedAt <= conversation.updatedAt) this.conversations.set(conversation.id, conversation);
  }

  /** Takes all that a list of messages had: of a long conversation the newest. */
  putThread(id, messages) {
    const isAgain = this.threads.has(id);
    const thread = this.threads.get(id) ?? { byId: new Map(), list: null, missing: 0 };
    this.threads.set(id, thread);
    for (const message of messages) this.put(message);
    // What a list is too short for is missing from then on, and not asked for again and again.
    if (isAgain || messages.length >= LIST_MAX) thread.missing = Math.max(0, (this.find(id)?.messageCount ?? 0) - thread.byId.size);
  }

  /** The messages of an open thread, oldest first. */
  messages(id) {
    const thread = this.threads.get(id);
    if (!thread) return [];
    thread.list ??= [...thread.byId.values()].sort((a, b) => byId(a.id, b.id));
    return thread.list;
  }

  /** Whether an open thread may lack a message, by the conversation's own count. */
  lacks(id) {
    const thread = this.threads.get(id);
    const count = this.find(id)?.messageCount;
    return Boolean(thread) && count !== undefined && thread.byId.size + thread.missing < count;
  }

  find(id) {
    return this.conversations.get(id) ?? this.queue.get(id);
  }

  /** Mine to ask or to answer. */
  isMine(conversation) {
    return conversation.questionerId === this.me || conversation.assignedExpertId === this.me;
  }

  mine() {
    const mine = [...this.conversations.values()].filter((conversation) => this.isMine(conversation));
    return mine.sort((a, b) => (a.updatedAt < b.updatedAt ? 1 : a.updatedAt > b.updatedAt ? -1 : byId(b.id, a.id)));
  }

  waiting() {
    // Oldest first, as the server has them; a question of one's own is nothing to claim.
    const waiting = [...this.queue.values()].filter((conversation) => conversation.status === "waiting");
    return waiting.sort((a, b) => (a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : byId(a.id, b.id)));
  }

  /** Whether the queue is to be read again. */
  lacksQueue() {
    return this.claimed >= CLAIMED_MAX && this.queue.size < this.total;
  }

  unread() {
    let unread = 0;
    for (const conversation of this.conversations.values()) if (this.isMine(conversation)) unread += conversation.unreadCount;
    return unread;
  }
}
