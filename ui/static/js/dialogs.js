// Dialogs are pages: the server sends <dialog open data-modal>, this makes it modal. Escape goes where Cancel goes.

const raise = (root) => {
  for (const dialog of root.querySelectorAll("dialog[data-modal][open]")) {
    if (dialog.matches(":modal")) continue;
    dialog.removeAttribute("open");
    // on a phone, focus in a field would raise the keyboard over the blast radius
    if (matchMedia("(max-width: 800px)").matches) dialog.querySelector("[autofocus]")?.removeAttribute("autofocus");
    dialog.showModal();
  }
};

addEventListener("DOMContentLoaded", () => raise(document));

addEventListener("cancel", (event) => {
  const back = event.target.querySelector?.("[data-cancel]");
  if (!back) return;
  event.preventDefault();
  back.click();
}, true);
