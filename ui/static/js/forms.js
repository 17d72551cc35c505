// Forms that say what they will do before they do it.

// a button that waits for the environment's name, typed
const guard = (form) => {
  const input = form.querySelector("[data-must-equal]");
  if (!input) return;
  const button = document.querySelector(`[data-guarded][form="${form.id}"]`) ?? form.querySelector("[data-guarded]");
  if (button) button.disabled = input.value.trim() !== input.dataset.mustEqual;
};

const guardAll = () => {
  for (const input of document.querySelectorAll("[data-must-equal]")) guard(input.form);
};

addEventListener("DOMContentLoaded", guardAll);
addEventListener("htmx:after:swap", guardAll);
addEventListener("input", (event) => {
  if (event.target.matches?.("[data-must-equal]")) guard(event.target.form);
});

// one press, one request: a second one would be a second commit
addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method === "get" || form.hasAttribute("hx-post")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  for (const button of document.querySelectorAll(`button[form="${form.id}"], #${CSS.escape(form.id || "none")} button`)) {
    button.setAttribute("aria-disabled", "true");
  }
});

// coming back by the back button, the form can be sent again
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// filters answer as they are chosen
addEventListener("change", (event) => {
  const form = event.target.closest?.("form[data-submit-on-change]");
  if (form) form.requestSubmit();
});

// leaving with unsaved changes asks first
let leaving = false;
addEventListener("submit", () => {
  leaving = true;
});
addEventListener("beforeunload", (event) => {
  if (!leaving && document.querySelector("[data-unsaved]")) event.preventDefault();
});
