// What the fleet says, as it says it. One stream a page, `<body data-live="…">`. An event carries HTML whose elements
// replace those of the same id; if the stream drops, the page says so and goes on working.

const RETRY_MS = 2000;
let source;
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

const connect = () => {
  const url = document.body.dataset.live;
  if (!url) return;
  source = new EventSource(url);
  source.addEventListener("open", found);
  source.addEventListener("html", (event) => apply(event.data));
  source.addEventListener("changed", (event) => {
    document.body.dispatchEvent(new CustomEvent(`live:${event.data}`, { bubbles: true }));
  });
  source.addEventListener("bye", () => {
    source.close();
    connect();
  });
  source.addEventListener("error", () => {
    source.close();
    lost();
    setTimeout(connect, RETRY_MS * Math.min(failures, 5));
  });
};

addEventListener("DOMContentLoaded", connect);
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => {
  if (event.persisted) connect();
});
