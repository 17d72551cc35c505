// The flag editor: splits that always sum to 100 %, and rules that can be dragged. The server does everything else.

const BP = 10000;

const rows = (split) => [...split.querySelectorAll(".split-row")];
const slider = (row) => row.querySelector("input[type=range]");
const number = (row) => row.querySelector(".pct input");

const draw = (split) => {
  let x = 0;
  rows(split).forEach((row, index) => {
    const share = Number(slider(row).value) / 100;
    const bar = split.querySelectorAll(".split-bar rect")[index];
    bar.setAttribute("x", `${x}%`);
    bar.setAttribute("width", `${share}%`);
    x += share;
  });
};

const set = (row, bp) => {
  slider(row).value = String(bp);
  number(row).value = String(bp / 100);
};

// what one variant gains, the others give, from the last upwards: the order decides who moves
const balance = (split, moved) => {
  const all = rows(split);
  const wanted = Math.min(BP, Math.max(0, Number(slider(moved).value)));
  set(moved, wanted);
  let rest = BP - all.reduce((sum, row) => sum + Number(slider(row).value), 0);
  for (const row of [...all].reverse()) {
    if (row === moved || rest === 0) continue;
    const now = Number(slider(row).value);
    const next = Math.min(BP, Math.max(0, now + rest));
    rest -= next - now;
    set(row, next);
  }
  if (rest !== 0) set(moved, wanted + rest);
  draw(split);
};

addEventListener("input", (event) => {
  const row = event.target.closest?.(".split-row");
  if (!row || event.target.type !== "range") return;
  balance(row.closest(".split"), row);
});

addEventListener("change", (event) => {
  const row = event.target.closest?.(".split-row");
  if (!row || event.target !== number(row)) return;
  slider(row).value = String(Math.round(Number(event.target.value.replace(",", ".")) * 100) || 0);
  balance(row.closest(".split"), row);
}, true);

// the JSON pane speaks for itself: its text must not be overwritten by the controls beside it
addEventListener("change", (event) => {
  if (event.target.id !== "json" || !event.target.closest("#editor")) return;
  event.stopImmediatePropagation();
  event.target.closest(".json-pane").querySelector("button[value=json]").click();
}, true);

// Enter in a field means "take this", not "press the first button"
addEventListener("submit", (event) => {
  if (event.target.id !== "editor" || !event.submitter?.matches(".vh:not(#move-rule)")) return;
  event.preventDefault();
  htmx.trigger(event.target, "change");
}, true);

// drag a rule by its grip; the form says the new order and the server answers with the rules in it
let dragged = null;

addEventListener("dragstart", (event) => {
  const grip = event.target.closest?.(".grip");
  if (!grip) return;
  dragged = grip.closest(".rule");
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", dragged.dataset.rule);
  event.dataTransfer.setDragImage(dragged, 0, 0);
});

addEventListener("dragover", (event) => {
  const over = event.target.closest?.(".rule");
  if (!dragged || !over) return;
  event.preventDefault();
  for (const rule of document.querySelectorAll(".rule")) rule.classList.toggle("is-target", rule === over && rule !== dragged);
});

addEventListener("drop", (event) => {
  const over = event.target.closest?.(".rule");
  if (!dragged || !over || over === dragged) return;
  event.preventDefault();
  const button = document.getElementById("move-rule");
  button.value = `to.${over.dataset.rule}:/rules/[${dragged.dataset.rule}]`;
  button.click();
});

addEventListener("dragend", () => {
  dragged = null;
  for (const rule of document.querySelectorAll(".rule.is-target")) rule.classList.remove("is-target");
});
