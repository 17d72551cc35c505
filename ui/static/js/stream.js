// One event stream for all tabs of a browser: over HTTP/1.1 it gets six connections, and a stream for each tab would take
// them all. The stream is held by a SharedWorker, or where there is none by the tab that holds the lock (live.js); its
// tabs join and listen on a BroadcastChannel.
//
// The stream's name is its address and, behind the #, the person whose tabs share it.

const SILENCE_MS = 25000;

// Serves the tabs that join, until the function that it returns is called.
export const serve = (name) => {
  const channel = new BroadcastChannel(name);
  let source;
  let silence = 0;
  let shown = 0; // the newest revision that a tab was made at
  let last; // what the board showed last

  const say = (message) => channel.postMessage(message);

  const stop = () => {
    clearTimeout(silence);
    source?.close();
    source = last = undefined;
  };

  const dropped = () => {
    stop();
    say({ type: "error" });
  };

  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(dropped, SILENCE_MS);
  };

  const open = () => {
    stop();
    const address = new URL(name, location.href);
    address.searchParams.set("shown", shown);
    address.hash = "";
    source = new EventSource(address);
    heard();
    source.addEventListener("open", () => say({ type: "open" }));
    source.addEventListener("here", () => {
      heard();
      say({ type: "here" });
    });
    source.addEventListener("html", (event) => {
      heard();
      last = { type: "html", html: event.data, revision: Number(event.lastEventId) };
      say(last);
    });
    source.addEventListener("bye", open);
    source.addEventListener("error", dropped);
  };

  channel.addEventListener("message", ({ data }) => {
    if (data.type !== "join") return;
    if (!source || data.shown > Math.max(shown, last?.revision ?? 0)) {
      // a tab that was made after a commit must not be taken back to before it
      shown = data.shown;
      open();
    } else if (source.readyState === EventSource.OPEN) {
      say({ type: "open" });
      if (last) say(last);
    }
  });
  const offline = () => source && dropped();
  addEventListener("offline", offline);
  say({ type: "who" });

  return () => {
    stop();
    removeEventListener("offline", offline);
    channel.close();
  };
};

if ("onconnect" in globalThis) serve(globalThis.name);
