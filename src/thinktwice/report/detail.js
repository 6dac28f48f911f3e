// One problem: its question, and what one or two arms wrote.
class Detail {
  constructor(root, store) {
    this.root = root;
    this.store = store;
    this.part = (name) => root.querySelector(`[data-part=${name}]`);
    this.replay = new Replay(this.part("replay"), () => this.mark());
  }

  // Shows a problem; `step` positions the replay after that step of the first arm.
  async open(number, shown, step) {
    const turn = (this.turn = {});
    const problem = await this.store.problem(number);
    if (this.turn !== turn) return; // another one was asked for meanwhile
    this.root.hidden = false;
    tip.hide();
    const key = this.store.keys[number];
    this.part("key").replaceChildren(`level ${this.store.levels[number]} · `, show(el("bdi", {}), key, 200));
    show(replaced(this.part("question")), problem.question, 4000);
    show(replaced(this.part("reference")), problem.reference, 400);
    const needed = problem.support.map((title) => show(el("span", { class: "tw-source tw-needed" }, "◆ "), title, 120));
    replaced(this.part("support")).append(...(needed.length ? ["It takes: ", ...needed] : []));
    const lanes = [];
    const letters = shown.length > 1 ? ["A", "B"] : [""];
    this.problem = problem;
    const cards = shown.map((arm, i) => this.card(problem.traces[arm], this.store.arms[arm], letters[i], lanes));
    this.part("arms").replaceChildren(...cards);
    this.part("replay").hidden = !lanes.length;
    const arms = this.part("arms");
    arms.style.minHeight = "";
    this.lanes = lanes;
    this.replay.load(lanes);
    arms.style.minHeight = `${arms.offsetHeight}px`; // so that the page does not jump while a trace is typed
    if (step !== null) this.replay.seek(this.replay.after(step));
    this.legend(lanes);
  }

  // Marks what was searched for, once a frame at most.
  mark(wanted = this.wanted) {
    this.wanted = wanted;
    this.marking ??= requestAnimationFrame(() => {
      this.marking = undefined;
      mark([this.part("question"), ...this.root.querySelectorAll(".tw-tape")], this.wanted);
      evidence(this.lanes ?? [], this.problem?.reference ?? "", this.problem?.support ?? []);
    });
  }

  missing(key) {
    this.turn = {};
    this.root.hidden = false;
    this.lanes = [];
    for (const name of ["question", "reference", "support", "arms", "legend"]) this.part(name).replaceChildren();
    this.part("replay").hidden = true;
    this.replay.load([]);
    show(replaced(this.part("key")), `No problem of this run is called ${key}.`, 300);
  }

  card(trace, arm, letter, lanes) {
    const head = el("h3", {},
      el("i", { class: `key c${arm.colour}` }), arm.name, letter && el("small", {}, ` ${letter}`));
    const card = el("article", { class: "card tw-card" });
    if (!trace) {
      card.append(head, el("p", { class: "missing" }, "This arm has no trace of this problem."));
      return card;
    }
    const mark = RIGHT[trace.right];
    const verdict = el("span", { class: `tw-verdict tw-${mark.look ?? mark.name}` }, `${mark.sign} ${mark.name}`);
    if (trace.failure && trace.right !== "1") show(verdict, `: ${trace.failure.replaceAll("_", " ")}`, 80);
    if (![0, 1].includes(trace.value)) verdict.append(` (${Number(trace.value.toFixed(2))})`);
    const facts = [count(trace.sampled, "token") + " sampled"];
    if (trace.back) facts.push(`took back ${trace.back === 1 ? "once" : `${trace.back} times`}`);
    if (trace.stop !== "done") facts.push(STOPS[trace.stop] ?? trace.stop);
    const why = el("p", { class: "tw-why" });
    if (trace.why) show(why, trace.why, 400);
    else if (trace.answer != null) show(why, `answered ${trace.answer}`, 400);
    const paper = el("div", {});
    const episode = episodeOf(trace);
    const { support } = this.problem;
    const about = episode?.about.map((step) => ({ ...step, support })) ?? null;
    const tape = new Tape(paper, { label: `trace of ${arm.name}`, about });
    const lane = { tape, events: eventsOf(trace), name: arm.name, tone: arm.colour, letter, episode, answer: trace.answer };
    lanes.push(lane);
    const turns = episode && glance(episode, support, (turn) => this.turnTo(lane, turn));
    const numbers = el("p", { class: "tw-numbers" }, facts.join(" · "));
    card.append(el("header", {}, head, verdict), numbers, turns ?? "", paper, why);
    return card;
  }

  // Brings a turn into sight, and writes as far as it where the replay has not come so far.
  turnTo(lane, turn) {
    const end = lane.events.findLastIndex((event) => event.step === turn.step && event.type !== "end") + 1;
    if (this.replay.position < end) {
      this.replay.pause();
      this.replay.seek(end);
    }
    const node = lane.tape.element.querySelectorAll(".tw-turn")[turn.turn - 1];
    if (!node) return; // behind "show all"
    node.scrollIntoView({ block: "nearest", behavior: "smooth" });
    for (const lit of this.root.querySelectorAll(".tw-lit")) lit.classList.remove("tw-lit");
    node.classList.add("tw-lit");
  }

  // Only what is on this page.
  legend(lanes) {
    const events = lanes.flatMap((lane) => lane.events);
    const has = (test) => events.some(test);
    const sign = (look, text) => el("li", {}, look, ` ${text}`);
    const sample = (name, text) => el("span", { class: `tw-token ${name}` }, text);
    const kinds = [...new Set(events.map((event) => event.kind ?? "text"))].filter((kind) => !kindOf(kind).flow);
    const never = "drawn, never part of the reply";
    const scale = ["> .99", "> .9", "> .7", "> .4", "> .1", "less"];
    const episode = lanes.some((lane) => lane.episode);
    const marked = (name, text) => sign(el("mark", { class: `tw-as-${name}` }, "text"), text);
    const items = [
      has((e) => e.type === "remove") && sign(sample("tw-gone", "text"), "taken back"),
      has((e) => e.kind === "undo") && sign(sample("tw-gone tw-undo", "↶"), "an undo token"),
      has((e) => e.type === "reject" && e.kind === "text") && sign(sample("tw-rejected", "text"), never),
      has((e) => e.type === "ban") && sign(el("span", { class: "tw-ban" }, "cannot be: x"), "could not be drawn next"),
      has((e) => e.type === "insert") && sign(sample("tw-inserted", "text"), "inserted, not sampled"),
      ...kinds.map((kind) => {
        const swatch = el("i", { class: "tw-swatch" });
        swatch.style.setProperty("--kind", `var(${kindOf(kind).colour})`);
        return sign(swatch, printable(kindOf(kind).label));
      }),
      episode && this.problem.support.length > 0 && marked("needed", "◆ a page that the answer needs"),
      episode && marked("reference", "the reference answer, where it was found"),
      episode && lanes.some((lane) => lane.answer !== this.problem.reference) &&
        marked("given", "the answer that was given, where it was found"),
      el("li", { class: "tw-scale" }, "probability of a token: ",
        ...scale.map((text, i) => el("span", { class: "tw-token", "data-surprise": i }, text))),
    ];
    this.part("legend").replaceChildren(...items.filter(Boolean));
  }
}

function replaced(node) {
  node.replaceChildren();
  return node;
}
