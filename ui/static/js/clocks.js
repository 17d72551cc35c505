// Times that move: "12 s ago", "59 min 48 s left". The server says the same words; this keeps them true.

const span = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
};

const left = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
};

// the server's clock decides: a laptop that is wrong by a minute must not lie about an activation
const skew = () => {
  const meta = document.querySelector("meta[name=server-time]");
  return meta ? Number(meta.content) - performance.timeOrigin - performance.now() : 0;
};
const drift = skew();
const now = () => (performance.timeOrigin + performance.now() + drift) / 1000;

const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const tick = () => {
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const seconds = now() - Date.parse(element.dateTime) / 1000;
    if (seconds < 86400) say(element, `${span(seconds)} ago`);
  }
  for (const element of document.querySelectorAll("time[data-until]")) {
    say(element, (element.dataset.until === "short" ? span : left)(Date.parse(element.dateTime) / 1000 - now()));
  }
};

setInterval(tick, 1000);
addEventListener("DOMContentLoaded", tick);
