// What the fleet says, as it says it. `<body data-live="…">` names the stream, which all tabs share (stream.js). Its HTML
// holds elements that replace those of the same id; if the stream drops, the page says so and goes on working. A network
// that fails without a word ends no stream: then it is the silence that tells, since the server says every ten seconds
// that it is still there.

const RETRY_MS = 2000;
const SILENCE_MS = 30000; // the stream's own is shorter: this one is for a worker that died
let channel;
let hosting;
let retry = 0;
let silence = 0;
let lostAt = 0;
let failures = 0;
let revision;
let shownHtml;

const notLive = () => document.getElementById("not-live");

const lost = () => {
  failures += 1;
  if (!lostAt) lostAt = Date.now();
  const notice = notLive();
  if (!notice || !notice.hidden) return;
  notice.querySelector("[data-since]").textContent = new Date(lostAt).toISOString().slice(11, 19);
  notice.hidden = false;
  document.body.dataset.stream = "lost";
};

const tell = (what) => document.body.dispatchEvent(new CustomEvent(`live:${what}`, { bubbles: true }));

const found = () => {
  const was = lostAt;
  lostAt = 0;
  failures = 0;
  const notice = notLive();
  if (notice) notice.hidden = true;
  document.body.dataset.stream = "live";
  if (was) tell("back");
};

const apply = (html) => {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const fresh of [...template.content.children]) {
    const old = fresh.id && document.getElementById(fresh.id);
    // do not pull a row out from under the keyboard; the next event brings it
    if (!old || old.contains(document.activeElement)) continue;
    old.replaceWith(fresh);
    htmx.process(fresh);
  }
};

const shows = (message) => {
  if (message.revision !== revision) {
    revision = message.revision;
    tell("commit");
  }
  if (message.html === shownHtml) return; // said again, for a tab that joined
  shownHtml = message.html;
  apply(message.html);
};

const join = () => channel.postMessage({ type: "join", shown: Number(document.body.dataset.shown) });

const dropped = () => {
  clearTimeout(silence);
  clearTimeout(retry);
  lost();
  retry = setTimeout(connect, RETRY_MS * Math.min(failures, 5));
};

const hear = ({ data }) => {
  if (data.type === "join") return;
  if (data.type === "who") return join();
  if (data.type === "error") return dropped();
  clearTimeout(retry);
  clearTimeout(silence);
  silence = setTimeout(dropped, SILENCE_MS);
  if (data.type === "html") shows(data);
  else if (data.type === "open") found();
};

// Without a SharedWorker: this tab holds the stream once the one that does is gone.
const hold = async (script, name, signal) => {
  const { serve } = await import(script);
  const serving = () =>
    new Promise((ended) => {
      const end = serve(name);
      signal.addEventListener("abort", () => ended(end()));
    });
  if (signal.aborted) return;
  if (navigator.locks) await navigator.locks.request(name, { signal }, serving).catch(() => {});
  else await serving();
};

const connect = () => {
  const { live: name, streamScript: script } = document.body.dataset;
  if (!name) return;
  clearTimeout(retry);
  clearTimeout(silence);
  silence = setTimeout(dropped, SILENCE_MS);
  revision ??= Number(document.body.dataset.shown);
  if (!channel) {
    channel = new BroadcastChannel(name);
    channel.addEventListener("message", hear);
  }
  if (globalThis.SharedWorker) {
    hosting = new SharedWorker(script, { type: "module", name }); // the one there is, unless it died
  } else if (!hosting) {
    hosting = new AbortController();
    hold(script, name, hosting.signal);
  }
  join();
};

const leave = () => {
  clearTimeout(retry);
  clearTimeout(silence);
  channel?.close();
  hosting?.abort?.();
  channel = hosting = undefined;
};

addEventListener("DOMContentLoaded", connect);
addEventListener("offline", () => document.body.dataset.live && dropped());
addEventListener("online", connect);
addEventListener("pagehide", leave);
addEventListener("pageshow", (event) => {
  if (event.persisted) connect();
});
