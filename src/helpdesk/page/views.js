// The views beside the conversations (a new question, what one took, one's profile), and what is done seldom or need not be
// done at once.

import { $, api, bdi, el, kept, notice, pause, randomKey, signOut, time } from "./base.js";

function page(title, ...children) {
  const box = el("div", { class: "page" }, el("a", { class: "back", href: "#/mine" }, "Back"), el("h2", { tabindex: -1 }, title), ...children);
  $("main").replaceChildren(box);
  return box;
}

function ask({ state, outbox, ended }) {
  const title = el("input", { id: "title", maxlength: 255, required: true, dir: "auto", "data-first": true });
  const question = el("textarea", { id: "question", rows: 6, dir: "auto" });
  const button = el("button", { class: "strong" }, "Ask");
  // The same key for each try: a question whose answer was lost is not asked twice. Another title is another question.
  let [key, asked] = [randomKey(), null];
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    if (asked !== null && asked !== title.value) key = randomKey();
    asked = title.value;
    try {
      const { data } = await api("POST", "/conversations", { title: title.value }, { headers: { "Idempotency-Key": key } });
      state.putConversation(data);
      if (question.value.trim()) outbox.add(data.id, question.value);
      location.hash = `#/c/${data.id}`;
    } catch (problem) {
      if (problem.status === 401) ended();
      else notice(problem.message);
    } finally {
      button.disabled = false;
    }
  };
  page("Ask a question", el("form", { onsubmit: submit },
    el("div", { class: "field" }, el("label", { for: "title" }, "What is it about?"), title),
    el("div", { class: "field" }, el("label", { for: "question" }, "Your question"), question), button));
}

export function history({ state, ended }) {
  const box = page("What you took", el("p", { class: "quiet" }, "Loading …"));
  api("GET", "/expert/assignments/history").then(({ data }) => {
    const line = (turn) => {
      const conversation = state.conversations.get(turn.conversationId);
      const name = conversation ? bdi(conversation.title) : `Conversation ${turn.conversationId}`;
      const reads = conversation && state.isMine(conversation);
      return el("li", null, reads ? el("a", { href: `#/c/${turn.conversationId}` }, name) : name,
        el("p", { class: "quiet" }, `${turn.status}, taken `, time(turn.assignedAt),
          ...(turn.resolvedAt ? [", ended ", time(turn.resolvedAt)] : []), turn.rating == null ? "" : `, rated ${turn.rating}`));
    };
    box.lastChild.replaceWith(data.length ? el("ul", null, ...data.slice(0, 200).map(line)) : el("p", null, "You have taken none yet."));
  }).catch((problem) => (problem.status === 401 ? ended() : (box.lastChild.textContent = problem.message)));
}

export function profile({ ended }) {
  const box = page("What askers may know of you", el("p", { class: "quiet" }, "Loading …"));
  api("GET", "/expert/profile").then(({ data }) => {
    const bio = el("textarea", { id: "bio", rows: 5, dir: "auto" });
    const links = el("textarea", { id: "links", rows: 4 });
    bio.value = data.bio ?? "";
    links.value = (data.knowledgeBaseLinks ?? []).join("\n");
    const submit = async (event) => {
      event.preventDefault();
      const knowledgeBaseLinks = links.value.split("\n").map((line) => line.trim()).filter(Boolean);
      try {
        await api("PUT", "/expert/profile", { bio: bio.value, knowledgeBaseLinks });
        notice("Saved.", false);
      } catch (problem) {
        if (problem.status === 401) ended();
        else notice(problem.message);
      }
    };
    box.lastChild.replaceWith(el("form", { onsubmit: submit },
      el("div", { class: "field" }, el("label", { for: "bio" }, "About you"), bio),
      el("div", { class: "field" }, el("label", { for: "links" }, "Links to what you know, one a line"), links),
      el("button", { class: "strong" }, "Save")));
  }).catch((problem) => (problem.status === 401 ? ended() : (box.lastChild.textContent = problem.message)));
}

/** Claims, unclaims or resolves a conversation. */
export async function decide({ state, ended, draw, readThread, isHere }, button, id, path, done) {
  button.disabled = true;
  try {
    await api("POST", `/expert/conversations/${id}/${path}`, {});
    notice(done, false);
    // The feed tells it, too; whoever pressed the button need not wait for that.
    const answer = path === "unclaim" ? null : await api("GET", `/conversations/${id}`).catch(() => null);
    if (answer) state.putConversation(answer.data);
    else if (path === "unclaim") state.drop(id);
    if (path === "claim") {
      state.queue.delete(id);
      readThread(id);
    }
  } catch (problem) {
    if (problem.status === 401) return ended();
    const winner = problem.body?.assignedExpertUsername;
    if (path === "claim" && [422, 404, 409].includes(problem.status)) {
      state.queue.delete(id);
      const name = winner ?? state.conversations.get(id)?.assignedExpertUsername;
      notice(`${name ?? "Another expert"} was faster and has it.`);
    } else {
      notice(problem.message);
    }
  } finally {
    button.disabled = false;
  }
  if (isHere(state)) {
    draw();
    if (path === "claim" && !$("write")?.hidden) $("text")?.focus();
  }
}

/** Tells the server which messages were read, one after the other. */
export async function sendRead(state, toRead, isHere) {
  for (const id of toRead) {
    try {
      await api("PUT", `/messages/${id}/read`, {});
      const thread = [...state.threads.values()].find((known) => known.byId.has(id));
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
    if (!isHere()) return;
  }
}

/** Signs out, in all tabs. */
export async function leave({ state, outbox, enter }) {
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

export { ask as new };
