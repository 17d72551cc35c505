// Ctrl/⌘ K: find a page, a flag, a cohort or an action. The server answers; arrows move, Enter goes.

const palette = () => document.getElementById("palette");

const open = () => {
  const dialog = palette();
  if (!dialog || dialog.open) return;
  dialog.showModal();
  const input = dialog.querySelector("input");
  input.select();
  htmx.trigger(input, "palette:open");
};

addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  open();
});

addEventListener("click", (event) => {
  const opener = event.target.closest("[data-palette]");
  if (opener) {
    event.preventDefault();
    open();
  }
  if (event.target === palette()) palette().close();
});

addEventListener("keydown", (event) => {
  const dialog = event.target.closest?.("#palette");
  if (!dialog || !["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) return;
  const links = [...dialog.querySelectorAll("li a")];
  const at = links.indexOf(document.activeElement);
  if (event.key === "Enter") {
    if (at >= 0 || !links.length) return;
    event.preventDefault();
    links[0].click();
    return;
  }
  event.preventDefault();
  const next = at + (event.key === "ArrowDown" ? 1 : -1);
  (links[next] ?? dialog.querySelector("input")).focus();
});
