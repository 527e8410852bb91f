// The message board's page: limits are told before anything is sent, and the upload shows how far it is.

import { $, Refusal, api, el, notice, time } from "./base.js";

const PICTURE_BYTES_MAX = 1024 * 1024;
const MESSAGE_CHARS_MAX = 255;
const LOOK_AGAIN_MS = 15000;
/** How these files begin: what a picture is, its content says, not its name. */
const BEGINNINGS = [[0xff, 0xd8, 0xff], [0x89, 0x50, 0x4e, 0x47], [0x47, 0x49, 0x46, 0x38], [0x42, 0x4d]];

const chars = (text) => [...text].length;

/** Why a file cannot be posted, or nothing. */
async function mistake(file) {
  if (!file) return "Choose a picture.";
  if (file.size > PICTURE_BYTES_MAX) return `The picture has ${(file.size / 1048576).toFixed(1)} MB; at most 1 MB can be posted.`;
  const head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return BEGINNINGS.some((bytes) => bytes.every((byte, at) => head[at] === byte)) ? "" : "That is no JPEG, PNG, GIF or BMP picture.";
}

$("message").addEventListener("input", () => {
  $("left").textContent = `${MESSAGE_CHARS_MAX - chars($("message").value)} characters left.`;
});

let shown = null;
$("file").addEventListener("change", async () => {
  const [file] = $("file").files;
  const why = await mistake(file);
  notice(why);
  if (shown) URL.revokeObjectURL(shown);
  shown = why ? null : URL.createObjectURL(file);
  $("preview").hidden = !shown;
  if (shown) $("preview").src = shown;
});
$("preview").addEventListener("error", () => {
  $("preview").hidden = true;
  notice("The picture cannot be shown: it may be damaged.");
});

/** `fetch` does not tell how much of an upload is sent; this does. */
function upload(form, told) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/upload/");
    request.timeout = 60000;
    request.upload.onprogress = (event) => event.lengthComputable && told(event.loaded / event.total);
    request.onload = () => {
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* a proxy's page */ }
      if (request.status === 200) done(body);
      else failed(new Refusal(request.status, body, Number(request.getResponseHeader("retry-after"))));
    };
    request.onerror = request.ontimeout = () => failed(new Refusal(0));
    request.send(form);
  });
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [file] = $("file").files;
  const why = $("message").value.trim() ? await mistake(file) : "Write a few words.";
  notice(why);
  if (why) return;
  const form = new FormData();
  form.append("message", $("message").value);
  form.append("file", file);
  $("send").disabled = true;
  $("progress").hidden = false;
  try {
    await upload(form, (part) => ($("progress").value = part));
    $("form").reset();
    $("preview").hidden = true;
    $("left").textContent = `At most ${MESSAGE_CHARS_MAX} characters.`;
    notice("Posted.", false);
    $("message").focus();
    await show();
  } catch (problem) {
    notice(`${problem.message} Your words and your picture are still here.`);
  } finally {
    $("send").disabled = false;
    $("progress").hidden = true;
    $("progress").value = 0;
  }
});

let last = "";
async function show() {
  const { data } = await api("GET", "/readMessages");
  const text = JSON.stringify(data);
  if (text === last) return;
  last = text;
  $("posts").replaceChildren(...data.map((post) => {
    const picture = el("img", { src: post.image_url, alt: `Picture of the post: ${post.message}`, loading: "lazy" });
    picture.addEventListener("error", () => (picture.alt = "The picture cannot be loaded."));
    return el("li", null, picture, el("p", { dir: "auto" }, post.message), el("p", { class: "quiet" }, time(post.create_time)));
  }));
  if (!data.length) $("posts").append(el("li", { class: "quiet" }, "Nothing yet. Be the first."));
}

/** A page that nobody looks at asks nothing. */
async function look() {
  if (document.hidden) return;
  try {
    await show();
  } catch (problem) {
    if (!last) $("posts").replaceChildren(el("li", { class: "bad" }, problem.message));
  }
}
document.addEventListener("visibilitychange", look);
setInterval(look, LOOK_AGAIN_MS);
look();
