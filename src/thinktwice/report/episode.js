// Episodes: thought, action, observation, turn after turn. Law: what a method noted of a step is shown as it noted it;
// where it noted nothing (an older run), the kinds of steps still tell the turns apart.
const TOOLS = { search: "--action", open: "--plan", answer: "--answer" };
const LETTERS = { s: "search", o: "open", a: "answer", x: "other" };

// Of a trace: `about`, by step, {turn, what, text, mark, sources}, and `turns`, [{turn, what, text, mark, step, sources}].
// null where nothing was looked up and nothing is noted.
function episodeOf(trace) {
  const acts = ["action", "observation"];
  if (!trace.notes.length && !trace.steps.some((step) => acts.includes(step.kind))) return null;
  const noted = new Map(trace.notes.map((note) => [note.step, note]));
  const turns = [];
  const about = [];
  let begun = 0; // the first step of the turn
  trace.steps.forEach((step, index) => {
    const ends = step.kept && step.kind === "observation";
    const last = index === trace.steps.length - 1;
    if (!ends && !last) return;
    const turn = turns.length + 1;
    const steps = trace.steps.slice(begun, index + 1);
    const told = (one, at) => one.kind !== "observation" && (noted.has(begun + at) || ["action", "answer"].includes(one.kind));
    const kept = steps.findLastIndex((one, at) => one.kept && told(one, at)); // where the turn's action ends
    const plain = { what: steps[kept]?.kind ?? "thought", text: "", mark: "" };
    const act = (kept >= 0 && noted.get(begun + kept)) || plain;
    const sources = steps.flatMap((one) => (one.kept ? one.sources : []));
    steps.forEach((one, i) => {
      const own = noted.get(begun + i);
      const says = own ?? (["action", "answer"].includes(one.kind) ? act : { what: one.kind, text: "", mark: "" });
      about[begun + i] = { turn, what: says.what, text: says.text, mark: says.mark, sources: one.sources };
    });
    const back = steps.flatMap((one, i) => (one.kept ? [] : (noted.get(begun + i)?.mark ?? [])));
    const mark = [...back, act.mark].filter(Boolean).join(", ");
    turns.push({ turn, what: act.what, text: act.text, mark, step: index, sources });
    begun = index + 1;
  });
  return { about, turns };
}

// What stands over a block of an episode: what it is, what is remarkable about it, and the pages it shows.
function heading(kind, { what, mark, sources, support = [] }) {
  const name = show(el("span", {}), kind === "observation" || what === "thought" ? kindOf(kind).label : what, 60);
  const chips = sources.map((title) => {
    const gold = support.includes(title);
    const chip = el("span", { class: `tw-source${gold ? " tw-needed" : ""}` }, gold && "◆ ");
    return show(chip, title, 120);
  });
  return [name, mark && show(el("span", { class: "tw-chip" }), mark, 80), ...chips];
}

// The turns at a glance, each a button that leads to it.
function glance({ turns }, support, chosen) {
  return el("ol", { class: "tw-glance", "aria-label": "turns" }, ...turns.map((turn) => {
    const found = support.length ? turn.sources.filter((title) => support.includes(title)).length : 0;
    const button = el("button", { type: "button", "data-turn": turn.turn },
      el("b", {}, String(turn.turn)), show(el("span", {}), turn.what, 30),
      turn.mark && show(el("span", { class: "tw-chip" }), turn.mark, 60),
      found > 0 && el("span", { class: "tw-found", title: "pages that the answer needs" }, "◆".repeat(found)));
    if (turn.text) button.title = printable(turn.text.slice(0, 200));
    button.style.setProperty("--kind", `var(${TOOLS[turn.what] ?? "--soft"})`);
    button.addEventListener("click", () => chosen(turn));
    return el("li", {}, button);
  }));
}

// The same in the list, smaller: a letter a turn, a capital where there is a mark.
function miniature(letters) {
  const signs = [...letters].map((letter) => {
    const what = LETTERS[letter.toLowerCase()];
    return el("i", { class: letter === letter.toLowerCase() ? "" : "tw-marked", "data-what": what, title: what });
  });
  return el("span", { class: "tw-mini", "aria-hidden": "true" }, ...signs);
}

// Marks, in what was found: the pages that are needed, the reference answer, and the answer that was given instead.
function evidence(lanes, reference, support) {
  if (!window.Highlight) return;
  const found = { needed: [], reference: [], given: [] };
  const words = (text) => (text && !/^(yes|no)$/i.test(text.trim()) ? text.trim() : "");
  const wanted = words(reference);
  for (const { tape, episode, answer } of lanes) {
    if (!episode) continue;
    const places = [...tape.element.querySelectorAll('.tw-step[data-kind="observation"] .tw-block')];
    const marks = (text) => (text ? places.flatMap((place) => whereIs(place, text.toLowerCase(), true)) : []);
    const given = words(answer);
    found.needed.push(...support.flatMap(marks));
    found.reference.push(...marks(wanted));
    if (given.toLowerCase() !== wanted.toLowerCase()) found.given.push(...marks(given));
  }
  const order = { needed: 0, given: 1, reference: 2 };
  for (const [name, ranges] of Object.entries(found)) {
    const highlight = new Highlight(...ranges.slice(0, 2000));
    highlight.priority = order[name];
    CSS.highlights.set(`tw-${name}`, highlight);
  }
}
