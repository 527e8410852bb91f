// The bookstore's page. Prices are decimal texts from the server to the screen: no arithmetic is done on them here.

import { $, api, bdi, el, followSession, kept, notice, restore, services, session, signIn, signOut, time } from "./base.js";

const BOOKS_PAGE = 20;
const METHODS = { card: "Card", paypal: "PayPal", bank_transfer: "Bank transfer", cash: "Cash" };
const VIEWS = ["books", "purchases", "mine", "sell"];

/** Runs what needs a user; asks who it is first. A refusal becomes a sentence. */
async function asUser(work) {
  if (!services.includes("helpdesk") && !session.user) {
    notice("People sign in at the help desk, which this server does not have.");
    return;
  }
  try {
    if (!session.user && !(await enter())) return;
    return await work();
  } catch (problem) {
    if (problem.status !== 401) return void notice(problem.message);
    session.user = null;
    if (await enter("You are signed out. Sign in to go on.")) return asUser(work);
  }
}

async function enter(why) {
  const user = await signIn(why);
  drawWho();
  return user;
}

function drawWho() {
  $("who").replaceChildren(...(session.user ? [bdi(session.user.username)] : []));
  $("sign").textContent = session.user ? "Sign out" : "Sign in";
  $("sign").hidden = !services.includes("helpdesk");
}

const field = (id, name, input) => el("div", { class: "field" }, el("label", { for: id }, name), Object.assign(input, { id }));

// ------------------------------------------------------------------------------------------------ books

function bookItem(book, ...actions) {
  return el("li", { "data-book": book.id }, el("h3", null, bdi(book.title)), el("p", { class: "quiet" }, "by ", bdi(book.author)),
    book.description ? el("p", { class: "description", dir: "auto", tabindex: 0, role: "region", "aria-label": `About ${book.title}` }, book.description) : null,
    el("p", null, el("span", { class: "price" }, book.price), book.stock ? `, ${book.stock} in stock` : ", ", book.stock ? null : el("span", { class: "bad" }, "sold out")),
    ...actions);
}

function buyForm(book) {
  if (!book.stock || book.sellerId === session.user?.id) return null;
  const amount = el("input", { type: "number", class: "amount", min: 1, max: Math.min(book.stock, 1000), value: 1, required: true, id: `amount-${book.id}` });
  const button = el("button", { class: "strong" }, "Buy", el("span", { class: "unseen" }, ` ${book.title}`));
  return el("form", { class: "row", onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    await asUser(() => buy(book, Number(amount.value)));
    button.disabled = false;
  } }, el("label", { for: amount.id }, "How many?"), amount, button);
}

async function buy(book, quantity) {
  try {
    const { data } = await api("POST", `/books/${book.id}/purchases`, { quantity });
    // The server has no list of purchases: the browser remembers which there are.
    kept.set(listKey(), JSON.stringify([data.id, ...bought()].slice(0, 200)));
    location.hash = `#/purchases/${data.id}`;
  } catch (problem) {
    if (problem.status !== 409) throw problem;
    const left = (await api("GET", `/books/${book.id}`)).data;
    document.querySelector(`[data-book="${book.id}"]`)?.replaceWith(bookItem(left, buyForm(left)));
    notice(left.stock ? `Only ${left.stock} are left. Nothing was bought.` : "Somebody was faster: it is sold out. Nothing was bought.");
  }
}

async function showBooks(query) {
  const words = query.get("q") ?? "";
  const page = Math.max(1, Number(query.get("page")) || 1);
  const input = el("input", { type: "search", name: "q", value: words, dir: "auto" });
  const form = el("form", { class: "search", role: "search", onsubmit: (event) => {
    event.preventDefault();
    location.hash = `#/books?${new URLSearchParams({ q: input.value })}`;
  } }, el("div", null, el("label", { for: "q" }, "Title or author"), Object.assign(input, { id: "q" })), el("button", null, "Search"));
  const { data, headers } = await api("GET", `/books?${new URLSearchParams({ page, q: words })}`);
  const total = Number(headers.get("x-total-count"));
  const link = (to, name) => el("a", { href: `#/books?${new URLSearchParams({ q: words, page: to })}` }, name);
  return [el("h2", { class: "unseen" }, "Books"), form,
    data.length ? el("ul", { class: "books" }, ...data.map((book) => bookItem(book, buyForm(book)))) : el("p", null, words ? "No book is called so, and no author." : "There are no books yet."),
    el("nav", { "aria-label": "Pages of books", class: "row" }, page > 1 ? link(page - 1, "Before") : null, el("span", null, `Page ${page}`), total > page * BOOKS_PAGE ? link(page + 1, "Next") : null)];
}

// ------------------------------------------------------------------------------------------------ purchases

const listKey = () => `hyperdesk-bought-${session.user.id}`;
const bought = () => JSON.parse(kept.get(listKey()) ?? "[]");

async function showPurchases() {
  const purchases = await Promise.all(bought().slice(0, 20).map(async (id) => (await api("GET", `/purchases/${id}`)).data));
  if (!purchases.length) return [el("p", null, "You have bought nothing on this device yet.")];
  const item = async (purchase) => {
    const book = await api("GET", `/books/${purchase.bookId}`).then(({ data }) => data.title, () => `Book ${purchase.bookId}`);
    return el("li", null, el("h3", null, el("a", { href: `#/purchases/${purchase.id}` }, bdi(book))),
      el("p", null, `${purchase.quantity} for `, el("span", { class: "price" }, purchase.totalPrice), `, ${purchase.status.toLowerCase()}, `, time(purchase.createdAt)));
  };
  return [el("h2", null, "My purchases"), el("ul", { class: "books" }, ...(await Promise.all(purchases.map(item))))];
}

async function showPurchase(id) {
  const [{ data: purchase }, { data: providers }] = await Promise.all([api("GET", `/purchases/${id}`), api("GET", "/delivery-providers")]);
  const book = await api("GET", `/books/${purchase.bookId}`).then(({ data }) => bdi(data.title), () => "A book that is no longer offered");
  const state = el("p", { id: "state" });
  const method = el("select", null, ...Object.entries(METHODS).map(([value, name]) => el("option", { value }, name)));
  const provider = el("select", null, ...providers.map((one) => el("option", { value: one.id }, `${one.name}, ${one.coverageArea}, ${one.cost}`)));
  const pay = el("button", { class: "strong", id: "pay" }, "Pay");
  const draw = (status) => {
    state.textContent = status === "Paid" ? "Paid." : "Not paid yet.";
    pay.disabled = method.disabled = status === "Paid";
  };
  const onpay = async (event) => {
    event.preventDefault();
    pay.disabled = true;
    await asUser(async () => {
      try {
        draw((await api("POST", `/purchases/${id}/payment`, { method: method.value })).data.status);
        notice("Paid. Thank you.", false);
      } catch (problem) {
        draw("");
        if (problem.status !== 409) throw problem;
        // In another tab, or by a try whose answer was lost: it was paid once, and once only.
        draw("Paid");
        notice("This was paid already, and only once.", false);
      }
    });
  };
  const ondeliver = (event) => {
    event.preventDefault();
    asUser(async () => {
      await api("POST", `/purchases/${id}/delivery`, { providerId: Number(provider.value) });
      notice(`${provider.selectedOptions[0].textContent.split(",")[0]} delivers it.`, false);
    });
  };
  draw(purchase.status);
  return [el("h2", { tabindex: -1 }, book), el("p", null, `${purchase.quantity} for `, el("span", { class: "price" }, purchase.totalPrice), ", bought ", time(purchase.createdAt)), state,
    el("div", { class: "steps" },
      el("form", { onsubmit: onpay }, field("method", "How do you pay?", method), pay),
      el("form", { onsubmit: ondeliver }, field("provider", "Who delivers?", provider), el("button", { id: "deliver" }, "Choose")))];
}

// ------------------------------------------------------------------------------------------------ selling

async function showMine() {
  const { data } = await api("GET", "/books/mine");
  if (!data.length) return [el("p", null, "You offer no books. ", el("a", { href: "#/sell" }, "Sell one"), ".")];
  const remove = (book) => () => asUser(async () => {
    if (!confirm(`Take "${book.title}" out of the shop?`)) return;
    await api("DELETE", `/books/${book.id}`);
    route();
  });
  const actions = (book) => el("div", { class: "row" }, el("a", { href: `#/sell/${book.id}` }, "Change"), el("button", { onclick: remove(book) }, "Remove", el("span", { class: "unseen" }, ` ${book.title}`)));
  return [el("h2", null, "My books"), el("ul", { class: "books" }, ...data.map((book) => bookItem(book, actions(book))))];
}

async function showSell(id) {
  const book = id ? (await api("GET", `/books/${id}`)).data : {};
  const input = (name, more) => Object.assign(el("input", { required: true, dir: "auto", ...more }), { value: book[name] ?? "" });
  const fields = {
    title: input("title", { maxlength: 255 }), author: input("author", { maxlength: 255 }),
    description: Object.assign(el("textarea", { rows: 4, dir: "auto" }), { value: book.description ?? "" }),
    price: input("price", { inputmode: "decimal", pattern: "[0-9]+([.][0-9]{1,2})?", title: "Such as 19.90" }),
    stock: input("stock", { type: "number", min: 0, max: 1000000 }),
  };
  const names = { title: "Title", author: "Author", description: "What it is about", price: "Price, such as 19.90", stock: "How many there are" };
  const onsubmit = (event) => {
    event.preventDefault();
    asUser(async () => {
      const sent = Object.fromEntries(Object.entries(fields).map(([name, one]) => [name, one.value]));
      await api(id ? "PUT" : "POST", id ? `/books/${id}` : "/books", { ...sent, stock: Number(sent.stock) });
      location.hash = "#/mine";
    });
  };
  return [el("h2", null, id ? "Change a book" : "Sell a book"),
    el("form", { onsubmit }, ...Object.entries(fields).map(([name, one]) => field(name, names[name], one)), el("button", { class: "strong" }, id ? "Save" : "Offer it"))];
}

// ------------------------------------------------------------------------------------------------ views

let turn = 0;
async function route() {
  const mine = (turn += 1);
  const [path, query] = location.hash.slice(2).split("?");
  const [name, id] = path.split("/");
  const view = VIEWS.includes(name) ? name : "books";
  for (const word of VIEWS) {
    if (word === view) $(`to-${word}`).setAttribute("aria-current", "page");
    else $(`to-${word}`).removeAttribute("aria-current");
  }
  notice("");
  $("view").setAttribute("aria-busy", "true");
  const show = { books: () => showBooks(new URLSearchParams(query)), purchases: () => (id ? showPurchase(id) : showPurchases()), mine: showMine, sell: () => showSell(id) }[view];
  let parts;
  try {
    parts = await (view === "books" ? show() : asUser(show));
  } catch (problem) {
    notice(problem.message);
  }
  if (mine !== turn) return;
  $("view").replaceChildren(...(parts ?? [el("p", null, view === "books" ? "The books cannot be shown." : "Sign in to see this.")]));
  $("view").removeAttribute("aria-busy");
  $("view").querySelector("h2")?.focus();
}

$("sign").addEventListener("click", async () => {
  if (!session.user) await enter();
  else await signOut().catch((problem) => notice(problem.message));
  drawWho();
  route();
});
followSession(async () => {
  await restore().catch(() => {});
  drawWho();
  route();
});
window.addEventListener("hashchange", route);
await restore().catch((problem) => notice(problem.message));
drawWho();
route();
