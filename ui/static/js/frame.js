// The frame: what a static page cannot do by itself.

// a menu made of <details> closes when the eye moves on
addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.env[open], details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.env[open], details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// a button that copies what stands beside it (a key that is shown once)
addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
  button.textContent = "Copied";
});

// a one-time link: its secret stands in the fragment, which no server log ever sees
addEventListener("DOMContentLoaded", () => {
  const welcome = document.querySelector("[data-welcome]");
  if (!welcome) return;
  document.getElementById("link").value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  setTimeout(() => htmx.trigger(welcome, "welcome:link")); // after htmx has looked at the page, which it does by a timeout too
});

// long text that scrolls in its place is reached by the keyboard too; what fits is no stop
const reachable = () => {
  for (const box of document.querySelectorAll(".clip-many")) {
    if (box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};

for (const when of ["DOMContentLoaded", "htmx:after:swap", "resize"]) addEventListener(when, reachable);
