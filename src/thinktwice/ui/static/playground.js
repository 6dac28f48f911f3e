// The playground: one question to a model and to another beside it. Its whole state is in the address.

import { $, count, el, setup, signed } from "./dom.js";
import { Pane } from "./pane.js";

const choices = new Map(setup().choices.map((choice) => [choice.name, choice]));
const given = new URLSearchParams(location.search);
const panes = {};
const NOBODY = "nothing";

const chosen = (id) => choices.get($(id).value);
const both = () => [chosen("model"), chosen("beside")].filter(Boolean);

// What the reader has set by hand; null is what the model brings along.
const state = {
  bias: number(given.get("bias")),
  budget: number(given.get("budget")),
  beside: given.get("beside"),
};

function number(text) {
  return text == null || text === "" || !Number.isFinite(Number(text)) ? null : Number(text);
}

// -- models ------------------------------------------------------------------------------------------------------

function fillChoices(select, extra) {
  const groups = new Map();
  for (const choice of choices.values()) {
    const label = choice.run ? `run ${choice.run}` : choice.bundled ? "in the package" : "named at start";
    if (!groups.has(label)) groups.set(label, el("optgroup", { label }));
    groups.get(label).append(el("option", { value: choice.name }, choice.arm ?? choice.name));
  }
  select.append(...groups.values());
  if (extra) select.append(el("option", { value: NOBODY }, "nothing"));
}

function firstModel() {
  const all = [...choices.values()];
  const named = choices.get(given.get("model"));
  const ofRun = all.filter((choice) => choice.run != null && choice.run === given.get("run"));
  return named ?? ofRun.find((choice) => choice.main) ?? ofRun[0] ?? all.find((choice) => choice.main) ?? all[0];
}

function followModel() {
  const model = chosen("model");
  const known = state.beside === NOBODY || choices.has(state.beside);
  $("beside").value = known ? state.beside : (model?.beside ?? NOBODY);
  panes.beside.root.classList.toggle("off", !chosen("beside"));
  showSamples(model);
  showDials();
}

// -- settings ----------------------------------------------------------------------------------------------------

function showDials() {
  const able = both().filter((choice) => choice.bias != null);
  const own = able[0]?.bias ?? 0;
  const bias = $("bias");
  bias.disabled = !able.length;
  $("bias-reset").disabled = !able.length || state.bias == null;
  bias.value = state.bias ?? own;
  $("bias-shown").textContent = !able.length
    ? "takes nothing back"
    : state.bias == null
      ? `${signed(own)}, as calibrated`
      : signed(state.bias);
  const temperature = Number($("temperature").value);
  $("temperature-shown").textContent = temperature ? temperature.toFixed(2) : "0, greedy";
  $("budget").value = state.budget ?? chosen("model")?.budget ?? 256;
  $("budget-shown").textContent = count(Number($("budget").value), "token");
  $("seed").disabled = temperature === 0;
}

function request(choice) {
  return {
    model: choice.name,
    question: $("question").value,
    temperature: Number($("temperature").value),
    max_new_tokens: Number($("budget").value),
    seed: Math.max(0, Math.trunc(Number($("seed").value)) || 0),
    bias: choice.bias == null ? null : state.bias,
  };
}

// Writes what is set into the address, so that it can be shared; what the model brings along is left out.
function remember() {
  const address = new URLSearchParams();
  const put = (name, value) => value != null && value !== "" && address.set(name, value);
  put("question", $("question").value);
  put("model", $("model").value);
  put("beside", state.beside);
  put("bias", state.bias);
  put("budget", state.budget);
  if (Number($("temperature").value)) put("temperature", $("temperature").value);
  if (Number($("seed").value)) put("seed", $("seed").value);
  if ($("pace").value !== "25") put("pace", $("pace").value);
  const whole = `${location.pathname}?${address}`;
  if (whole.length < 8000) history.replaceState(null, "", whole); // a very long question stays out of the address
}

// -- questions to try --------------------------------------------------------------------------------------------

let sampled = null;

async function showSamples(model) {
  if (sampled === model?.run) return;
  sampled = model?.run;
  $("samples").hidden = true;
  if (!sampled) return;
  const answer = await fetch(`/playground/samples/${encodeURIComponent(sampled)}`).catch(() => null);
  if (sampled !== model.run || !answer?.ok) return;
  const found = await answer.json();
  $("samples").hidden = !found.length;
  $("samples-title").textContent = `Test problems of ${sampled}, and who was right about them in the run:`;
  $("samples-list").replaceChildren(
    ...found.map((sample) => {
      const button = el("button", { type: "button", class: "sample", title: sample.question.slice(0, 1000) });
      button.append(
        el("span", { class: "sample-kind" }, `${sample.kind} · level ${sample.level}`),
        el("bdi", { class: "sample-text" }, sample.question.slice(0, 240)),
      );
      button.addEventListener("click", () => {
        $("question").value = sample.question;
        ask();
      });
      return el("li", {}, button);
    }),
  );
}

// -- asking ------------------------------------------------------------------------------------------------------

const busy = () => Object.values(panes).some((pane) => pane.answering);

function showBusy() {
  $("go").textContent = busy() ? "Stop" : "Ask";
  $("go").classList.toggle("stop", busy());
}

function stop() {
  for (const pane of Object.values(panes)) pane.stop();
}

function ask() {
  stop();
  remember();
  if (!$("question").value.trim()) {
    panes.model.clear("There is no question yet.");
    $("question").focus();
    return;
  }
  for (const id of ["model", "beside"]) {
    const choice = chosen(id);
    if (choice) panes[id].ask(request(choice), { pace: Number($("pace").value), run: choice.run });
    else panes[id].clear();
  }
  showBusy();
  if (phone.matches) panes.model.root.scrollIntoView({ block: "start" });
}

for (const id of ["model", "beside"]) panes[id] = new Pane($(`pane-${id}`), { ended: showBusy });
fillChoices($("model"), false);
fillChoices($("beside"), true);
$("model").value = firstModel()?.name ?? "";
$("question").value = given.get("question") ?? "";
$("temperature").value = number(given.get("temperature")) ?? 0;
$("seed").value = number(given.get("seed")) ?? 0;
if (given.has("pace")) $("pace").value = given.get("pace");
if (!$("pace").value) $("pace").value = "25";
const phone = matchMedia("(max-width: 46rem)");
const fold = () => ($("settings").open = !phone.matches);
phone.addEventListener("change", fold);
fold();
followModel();
panes.model.say("Its answer will stand here.");

$("model").addEventListener("change", () => {
  panes.model.clear();
  panes.beside.clear();
  state.beside = state.beside === NOBODY ? NOBODY : null;
  followModel();
  remember();
});
$("beside").addEventListener("change", () => {
  state.beside = $("beside").value;
  panes.beside.clear();
  followModel();
  remember();
});
$("bias").addEventListener("input", () => {
  state.bias = Number($("bias").value);
  showDials();
});
$("bias-reset").addEventListener("click", () => {
  state.bias = null;
  showDials();
  remember();
});
$("budget").addEventListener("input", () => {
  state.budget = Number($("budget").value);
  showDials();
});
$("temperature").addEventListener("input", showDials);
for (const id of ["bias", "budget", "temperature", "seed", "pace", "question"]) $(id).addEventListener("change", remember);
$("pace").addEventListener("change", () => {
  for (const pane of Object.values(panes)) pane.pace = Number($("pace").value);
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (busy()) stop();
  else ask();
});
$("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && busy()) stop();
});
$("copy").addEventListener("click", async () => {
  remember();
  await navigator.clipboard.writeText(location.href).then(
    () => ($("copy").textContent = "Copied"),
    () => ($("copy").textContent = "Copy it from the address bar"),
  );
  setTimeout(() => ($("copy").textContent = "Copy link"), 2000);
});
addEventListener("pagehide", stop);
