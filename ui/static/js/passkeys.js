// Passkeys: a button asks the browser for one, and its form is sent with the answer. What fails is said beside it.

const problem = (form, text) => {
  const place = form.querySelector("[data-passkey-problem]");
  place.textContent = text;
  place.hidden = !text;
};

const ask = async (button) => {
  const csrf = button.form.elements.csrf?.value ?? "";
  const response = await fetch(button.dataset.passkey, { method: "POST", headers: { "X-CSRF-Token": csrf } });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  if (button.dataset.ceremony === "create") {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(answer.options);
    return navigator.credentials.create({ publicKey });
  }
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(answer.options);
  return navigator.credentials.get({ publicKey });
};

const WORDS = {
  NotAllowedError: "No passkey was used: it was cancelled, took too long, or there is none here.",
  InvalidStateError: "This device has a passkey for you already.",
  SecurityError: "Passkeys do not work at this address. Open the console by its public address.",
};

addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-passkey]");
  if (!button || !button.form.reportValidity()) return;
  const { form } = button;
  if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
    problem(form, "This browser is too old for passkeys.");
    return;
  }
  problem(form, "");
  button.disabled = true;
  try {
    const credential = await ask(button);
    form.elements[button.dataset.field].value = JSON.stringify(credential.toJSON());
    form.requestSubmit();
  } catch (error) {
    problem(form, WORDS[error.name] ?? error.message);
  } finally {
    button.disabled = false;
  }
});
