// Forms that say what they will do before they do it.

// a button that waits for the environment's name, typed
const guard = (form) => {
  const controls = [...form.elements];
  const input = controls.find((control) => control.dataset.mustEqual);
  const button = controls.find((control) => control.hasAttribute("data-guarded"));
  if (input && button) button.disabled = input.value.trim() !== input.dataset.mustEqual;
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

// the button says what it will do: "Activate Contain for 1 h"
addEventListener("change", (event) => {
  const form = event.target.closest?.("[data-activate]");
  if (!form) return;
  const title = form.querySelector("input[name=profile]:checked")?.dataset.title;
  const lasts = form.querySelector("input[name=for_s]:checked")?.dataset.title;
  const button = document.querySelector("[data-says]");
  if (title && lasts) button.textContent = `Activate ${title} for ${lasts}`;
});
