// The sign-in, for who is not signed in yet.

import { api, el, session, tellTabs } from "./base.js";

/** Shows the dialog and resolves to the user, or to `null` where it was closed. */
export function ask(why = "") {
  let isNew = false;
  const title = el("h2", { id: "sign-title" }, "Sign in");
  const name = el("input", { id: "sign-name", name: "username", autocomplete: "username", required: true, maxlength: 255 });
  const password = el("input", { id: "sign-password", name: "password", type: "password", autocomplete: "current-password", required: true });
  const problem = el("p", { class: "bad", role: "alert", id: "sign-problem" }, why);
  const go = el("button", { class: "strong" }, "Sign in");
  const other = el("button", { type: "button", id: "sign-other" }, "I am new here");
  const form = el("form", null, title,
    el("div", { class: "field" }, el("label", { for: "sign-name" }, "Name"), name),
    el("div", { class: "field" }, el("label", { for: "sign-password" }, "Password"), password),
    problem, el("div", { class: "row" }, go, other));
  const dialog = el("dialog", { "aria-labelledby": "sign-title" }, form);
  document.body.append(dialog);
  return new Promise((done) => {
    other.addEventListener("click", () => {
      isNew = !isNew;
      title.textContent = go.textContent = isNew ? "Register" : "Sign in";
      other.textContent = isNew ? "I have an account" : "I am new here";
      password.autocomplete = isNew ? "new-password" : "current-password";
      problem.textContent = isNew ? "A password has at least 6 characters." : "";
      problem.className = "quiet";
      name.focus();
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      go.disabled = true;
      try {
        const sent = { username: name.value, password: password.value };
        const { data } = await api("POST", isNew ? "/auth/register" : "/auth/login", sent);
        session.user = data.user;
        tellTabs();
        dialog.close();
      } catch (refusal) {
        problem.className = "bad";
        problem.textContent = refusal.message;
        (refusal.status === 401 ? password : name).focus();
      } finally {
        go.disabled = false;
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(session.user);
    });
    dialog.showModal();
    name.focus();
  });
}
