// One running run: its stages, what is left, and the headline comparison as it firms up. Becomes the report at the end.

import { $, count, duration, el, setup } from "./dom.js";
import { Funnel } from "./funnel.js";

const first = setup();
const nodes = new Map(); // stage -> its parts
const signs = { done: "✓", running: "▸", waiting: "·" };
let funnel = null;

function stageNode(name) {
  const parts = {
    sign: el("span", { class: "sign", "aria-hidden": "true" }),
    note: el("span", { class: "soft note" }),
    time: el("span", { class: "soft time" }),
    bar: el("progress", { max: 1, "aria-label": name }),
  };
  const dash = name.indexOf("-");
  const label = el("span", { class: "stage-name" });
  if (dash < 0) label.append(name);
  else label.append(el("span", { class: "soft" }, `${name.slice(0, dash)} `), name.slice(dash + 1));
  parts.node = el("li", { class: "stage" }, parts.sign, label, parts.time, parts.bar, parts.note);
  return parts;
}

function showStages(stages) {
  for (const stage of stages) {
    if (!nodes.has(stage.name)) nodes.set(stage.name, stageNode(stage.name));
    const { node, sign, note, time, bar } = nodes.get(stage.name);
    node.dataset.state = stage.state;
    sign.textContent = signs[stage.state];
    bar.value = stage.share;
    bar.hidden = stage.state !== "running" && !(stage.state === "waiting" && stage.share > 0);
    note.textContent = stage.state === "running" ? stage.note : "";
    time.textContent = stage.seconds > 0 ? duration(stage.seconds) : stage.state === "waiting" ? "waiting" : "";
  }
  $("stages").replaceChildren(...stages.map((stage) => nodes.get(stage.name).node));
}

function showOverall(status) {
  const done = status.stages.filter((stage) => stage.state === "done").length;
  const facts = [
    `${done} of ${count(status.stages.length, "stage")} done`,
    `${duration(status.seconds)} so far`,
    status.state === "running" && status.eta_s != null ? `${duration(status.eta_s)} left` : "",
    status.state === "running" && status.tokens_per_second ? `${count(status.tokens_per_second, "token")}/s` : "",
  ];
  $("overall").textContent = facts.filter(Boolean).join(" · ");
}

function showFirming(found) {
  if (!found) return;
  const home = $("firming");
  if (!funnel) {
    funnel = new Funnel(found.of);
    home.replaceChildren(
      el("p", { class: "big" }, el("b", { id: "gain" }), el("span", { id: "gain-interval", class: "soft" })),
      el("p", { class: "soft", id: "gain-words" }),
      funnel.node,
      el("p", { class: "note" }, "The band is the 95 % interval; it narrows as more problems are answered. Nothing is claimed before the end."),
    );
  }
  const [low, high] = found.ci;
  $("gain").textContent = `${found.points} points`;
  $("gain").className = low > 0 ? "up" : high < 0 ? "down" : "flat";
  $("gain-interval").textContent = ` ${found.interval}`;
  $("gain-words").textContent =
    `${found.a} over ${found.b} at level ${found.level}, on ${found.n.toLocaleString("en")} of ` +
    `${count(found.of, "problem")} that both will answer`;
  funnel.add(found);
}

function showAll(status) {
  document.title = `${Math.round(100 * status.share)} % · ${status.name} · thinktwice`;
  showStages(status.stages);
  showOverall(status);
  showFirming(status.comparison);
}

showAll(first);
if (first.state === "running") {
  const source = new EventSource(`/run/${encodeURIComponent(first.name)}/events`);
  source.onmessage = (event) => {
    const status = JSON.parse(event.data);
    showAll(status);
    if (status.state === "running") return;
    source.close();
    $("state").textContent = status.state === "finished" ? "finished: opening the report" : status.state;
    setTimeout(() => location.reload(), status.state === "finished" ? 1200 : 0);
  };
}
