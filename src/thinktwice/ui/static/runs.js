// The list of runs: times in words, two or more to compare, and running ones kept up to date.

import { $, ago, duration } from "./dom.js";

const EVERY = 2000; // milliseconds, while a run works
const IDLE = 8000;
const rows = [...document.querySelectorAll("[data-run]")];

function showTimes() {
  for (const node of document.querySelectorAll("time[data-when]")) {
    const when = Number(node.dataset.when);
    const date = new Date(1000 * when);
    node.dateTime = date.toISOString();
    node.title = date.toLocaleString();
    node.textContent = ago(when);
  }
}

const compare = $("compare");

function showCompare() {
  const picked = document.querySelectorAll("input[name=run]:checked").length;
  compare.disabled = picked < 2;
  compare.textContent = picked < 2 ? "Compare: select two" : `Compare ${picked} runs`;
}

function showDoing(row, status) {
  const bar = row.querySelector("progress");
  if (!bar) return;
  bar.value = status.share;
  const left = status.eta_s == null ? "" : ` · ${duration(status.eta_s)} left`;
  const current = status.stages.find((stage) => stage.state === "running");
  row.querySelector("[data-doing]").textContent = `${status.current ?? "starting"}${left}`;
  row.querySelector("[data-doing]").title = current?.note ?? "";
  row.querySelector("time").dataset.when = status.updated;
}

// A run that began, ended or went away changes more than a bar: the page is asked for anew, picks kept by the browser.
function changed(states) {
  return (
    states.length !== rows.filter((row) => row.dataset.state !== "damaged").length ||
    states.some((status) => !rows.some((row) => row.dataset.run === status.name && row.dataset.state === status.state))
  );
}

async function look() {
  try {
    const states = await (await fetch("/states")).json();
    if (changed(states) && !document.querySelector("input[name=run]:checked")) {
      location.reload();
      return;
    }
    for (const status of states) {
      const row = rows.find((each) => each.dataset.run === status.name);
      if (row) showDoing(row, status);
    }
    showTimes();
  } catch {
    return; // the server ended; the page stays as it is
  }
  setTimeout(look, rows.some((row) => row.dataset.state === "running") ? EVERY : IDLE);
}

showTimes();
if (compare) {
  showCompare();
  document.addEventListener("change", showCompare);
}
look();
