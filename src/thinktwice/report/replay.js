// Traces as films: one position for all lanes, so that two arms go in step, each event one tick. Law: position p shows
// exactly the first p events; going back builds the tape again from the list.
const PACE = { write: 70, insert: 40, reject: 350, remove: 650, ban: 450, end: 0 }; // milliseconds at speed 1

class Replay {
  // `bar` holds the buttons (data-do), the range, the speed and the place for the strips; `moved` is told afterwards.
  constructor(bar, moved) {
    this.moved = moved;
    this.bar = bar;
    this.range = bar.querySelector("input[type=range]");
    this.strips = bar.querySelector(".tw-strips");
    this.letters = bar.querySelector(".tw-letters");
    this.where = bar.querySelector(".tw-where");
    this.speed = bar.querySelector("select");
    this.lanes = [];
    this.position = this.length = 0;
    this.range.addEventListener("input", () => {
      this.pause();
      this.seek(Number(this.range.value));
    });
    bar.addEventListener("click", (event) => this.does(event.target.closest("[data-do]")?.dataset.do));
  }

  // lanes: [{tape, events, name, tone, letter}]; shows them at the end.
  load(lanes) {
    this.pause();
    this.lanes = lanes.map((lane) => ({ ...lane, done: 0 }));
    this.length = Math.max(0, ...lanes.map((lane) => lane.events.length));
    this.range.max = this.length;
    this.letters.replaceChildren(...lanes.filter((lane) => lane.letter).map((lane) => el("span", {}, lane.letter)));
    this.strips.replaceChildren(...lanes.map((lane) => strip(lane, this.length)));
    this.seek(this.length);
  }

  // The position right after step n (from 1) of the first lane.
  after(step) {
    const events = this.lanes[0]?.events ?? [];
    const last = events.findLastIndex((event) => event.step === step - 1 && event.type !== "end");
    return last < 0 ? this.length : last + 1;
  }

  // The step of the first lane that the position is in, from 1; 0 before the first.
  get step() {
    const events = this.lanes[0]?.events ?? [];
    return this.position ? (events[Math.min(this.position, events.length) - 1]?.step ?? -1) + 1 : 0;
  }

  get atEnd() {
    return this.position >= this.length;
  }

  seek(position) {
    this.position = Math.max(0, Math.min(this.length, Math.round(position)));
    for (const lane of this.lanes) {
      const target = Math.min(this.position, lane.events.length);
      if (target < lane.done) {
        lane.tape.clear();
        lane.done = 0;
      }
      while (lane.done < target) perform(lane.tape, lane.events[lane.done++]);
      lane.tape.element.classList.toggle("tw-writing", lane.done < lane.events.length);
    }
    this.range.value = this.position;
    this.bar.style.setProperty("--at", this.length ? this.position / this.length : 1);
    const steps = (this.lanes[0]?.events.at(-1)?.step ?? -1) + 1;
    this.where.textContent = `${this.position}/${this.length} · step ${this.step}/${steps}`;
    const place = `event ${this.position} of ${this.length}, step ${this.step} of ${steps}`;
    this.range.setAttribute("aria-valuetext", place);
    this.moved();
  }

  // The next (or the previous) position at which something was just taken back.
  retraction(way) {
    const places = this.lanes.flatMap(({ events }) => events.flatMap((e, i) => (e.type === "remove" ? [i + 1] : [])));
    const found = places.sort((a, b) => way * (a - b)).find((place) => way * (place - this.position) > 0);
    return found ?? (way > 0 ? this.length : 0);
  }

  play() {
    if (!this.length) return;
    if (this.atEnd) this.seek(0);
    this.playing = true;
    this.bar.dataset.playing = "";
    this.button();
    this.tick();
  }

  tick() {
    const now = this.lanes.map((lane) => PACE[lane.events[this.position]?.type] ?? 0);
    this.timer = setTimeout(() => {
      this.seek(this.position + 1);
      if (this.atEnd) this.pause();
      else this.tick();
    }, Math.max(...now) / Number(this.speed.value));
  }

  pause() {
    clearTimeout(this.timer);
    this.playing = false;
    delete this.bar.dataset.playing;
    this.button();
  }

  button() {
    const button = this.bar.querySelector("[data-do=play]");
    button.textContent = this.playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", this.playing ? "pause" : "play");
  }

  does(what) {
    if (what === "play") return this.playing ? this.pause() : this.play();
    const to = {
      start: () => 0, end: () => this.length, back: () => this.position - 1, forward: () => this.position + 1,
      next: () => this.retraction(1), previous: () => this.retraction(-1),
    }[what]?.();
    if (to === undefined) return undefined;
    this.pause();
    return this.seek(to);
  }

  // Space plays and pauses, arrows step, with Shift to the next retraction. Says whether the key was for it.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const what = event.shiftKey
      ? { ArrowRight: "next", ArrowLeft: "previous" }[event.key]
      : { " ": "play", ArrowRight: "forward", ArrowLeft: "back" }[event.key];
    if (what) this.does(what);
    return Boolean(what);
  }
}

// The timeline of one lane: a bar for each token, as high as it was surprising; red what was taken back,
// grey what the model did not write into its reply; a line where something was taken back; kinds shine through.
function strip({ events, name, tone }, length) {
  const paths = { kept: "", gone: "", aside: "", mark: "" };
  const kinds = {}; // colour of a kind -> path
  events.forEach((event, i) => {
    if (event.type === "remove") paths.mark += `M${i} 0h1v20h-1z`;
    if (!["write", "insert", "reject"].includes(event.type)) return;
    const { colour, flow } = kindOf(event.kind);
    if (!flow) kinds[colour] = `${kinds[colour] ?? ""}M${i} 0h1v20h-1z`;
    const nats = event.logprob == null ? 0.3 : -event.logprob;
    const high = (2 + 17 * Math.min(1, Math.sqrt(nats / 5))).toFixed(1);
    paths[event.type !== "write" ? "aside" : event.kept ? "kept" : "gone"] += `M${i} 20v-${high}h.85v${high}z`;
  });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${Math.max(1, length)} 20`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const draw = (look, d, colour = "") => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", `tw-strip-${look}`);
    path.setAttribute("d", d);
    if (colour) path.style.setProperty("--kind", `var(${colour})`);
    svg.append(path);
  };
  for (const [colour, d] of Object.entries(kinds)) draw("kind", d, colour);
  for (const [look, d] of Object.entries(paths)) draw(look, d);
  return el("div", { class: `tw-strip c${tone}`, title: name }, svg);
}
