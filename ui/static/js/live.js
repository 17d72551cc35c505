// What the fleet says, as it says it. One stream a page, `<body data-live="…">`. An event carries HTML whose elements
// replace those of the same id; if the stream drops, the page says so and goes on working. A network that fails without a
// word ends no stream: then it is the silence that tells, since the server says every ten seconds that it is still there.

const RETRY_MS = 2000;
const SILENCE_MS = 25000;
let source;
let retry = 0;
let silence = 0;
let lostAt = 0;
let failures = 0;

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

const found = () => {
  const was = lostAt;
  lostAt = 0;
  failures = 0;
  const notice = notLive();
  if (notice) notice.hidden = true;
  document.body.dataset.stream = "live";
  if (was) document.body.dispatchEvent(new CustomEvent("live:back", { bubbles: true }));
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

const stop = () => {
  source?.close();
  clearTimeout(retry);
  clearTimeout(silence);
};

const dropped = () => {
  stop();
  lost();
  retry = setTimeout(connect, RETRY_MS * Math.min(failures, 5));
};

const heard = () => {
  clearTimeout(silence);
  silence = setTimeout(dropped, SILENCE_MS);
};

const connect = () => {
  const url = document.body.dataset.live;
  if (!url) return;
  stop();
  source = new EventSource(url);
  heard();
  source.addEventListener("open", found);
  source.addEventListener("here", heard);
  source.addEventListener("html", (event) => {
    heard();
    apply(event.data);
  });
  source.addEventListener("changed", (event) => {
    document.body.dispatchEvent(new CustomEvent(`live:${event.data}`, { bubbles: true }));
  });
  source.addEventListener("bye", connect);
  source.addEventListener("error", dropped);
};

addEventListener("DOMContentLoaded", connect);
addEventListener("offline", () => document.body.dataset.live && dropped());
addEventListener("online", connect);
addEventListener("pagehide", stop);
addEventListener("pageshow", (event) => {
  if (event.persisted) connect();
});
