// The trace viewer: filters, the list, one problem open. Law: what is looked at is in the address (see filters.js).
class Viewer {
  constructor(root, store) {
    this.root = root;
    this.store = store;
    this.view = { ...DEFAULTS };
    this.form = root.querySelector(".tw-filters");
    this.said = root.querySelector(".tw-count");
    this.matches = null;
    this.list = new Listing(root.querySelector(".tw-list"), store, { chosen: (number) => this.choose(number) });
    this.detail = new Detail(root.querySelector(".tw-detail"), store);
    this.fill();
    this.form.addEventListener("input", (event) => this.filtered(event.target.name));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("reset", (event) => {
      event.preventDefault();
      this.change({ level: "", outcome: "", failure: "", mark: "", back: "", text: "", sort: "" });
    });
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("click", (event) => this.click(event.target.closest("[data-view]")));
    window.addEventListener("hashchange", () => this.go(readAddress(location.hash), true));
    const asked = readAddress(location.hash);
    this.go(asked ?? this.opening(), Boolean(asked));
  }

  get arms() {
    const numbers = this.view.arms.split(",").map((name) => this.store.armNumber.get(name));
    const known = numbers.filter((number) => number !== undefined);
    return known.length ? [...new Set(known)].slice(0, 2) : this.usual;
  }

  // The pair the run is about, else its first two arms.
  get usual() {
    const { pair, arms, armNumber } = this.store;
    return (pair.length === 2 ? pair : arms.slice(0, 2).map((arm) => arm.name)).map((name) => armNumber.get(name));
  }

  // What an unasked visitor sees: the headline's level, and there the first problem that something was taken back on.
  opening() {
    const { levels, level } = this.store;
    return { ...DEFAULTS, level: levels.includes(level) ? String(level) : "" };
  }

  fill() {
    const { store, form } = this;
    const names = store.arms.map((arm) => [arm.name, arm.name]);
    options(form.elements.a, names);
    options(form.elements.b, [["", "nothing"], ...names]);
    const levels = [...new Set(store.levels)].sort((x, y) => x - y).map(String);
    options(form.elements.level, [["", "all"], ...levels.map((level) => [level, level])]);
    const told = store.arms.some((arm) => arm.turns);
    const sorts = Object.entries(SORTS).filter(([, { turns }]) => !turns || told);
    options(form.elements.sort, sorts.map(([name, { label }]) => [name, label]));
    this.graded = store.arms.some((arm) => arm.right.includes("p"));
    form.querySelector("[data-part=marks]").hidden = store.marks.length < 2;
  }

  // -- from the address to the page ----------------------------------------------------------------------------------

  go(view, visit = false) {
    if (!view) return;
    const before = this.view;
    this.view = view;
    this.root.toggleAttribute("data-colour", Boolean(view.colour));
    this.root.toggleAttribute("data-fold", Boolean(view.fold));
    this.show();
    this.detail.mark(view.text);
    if (view.text !== before.text) this.search();
    else this.refresh();
    if (visit) this.visit();
  }

  // Somebody followed a link: what it is about comes into sight, and keys go to it.
  async visit() {
    await this.ready;
    const place = this.view.trace ? this.root.querySelector(".tw-detail") : this.root;
    place.scrollIntoView({ behavior: "instant", block: "start" });
    (this.view.trace ? place : this.list.box).focus({ preventScroll: true });
  }

  // Brings the controls in line with the view.
  show() {
    const { form, view, store } = this;
    const [a, b] = this.arms;
    const one = store.arms[a];
    form.elements.a.value = one.name;
    form.elements.b.value = b === undefined ? "" : store.arms[b].name;
    const outcomes = Object.entries(OUTCOMES)
      .filter(([, { pair, graded }]) => (!pair || b !== undefined) && (!graded || this.graded));
    options(form.elements.outcome, [["", "any"], ...outcomes.map(([name, { label }]) => [name, label])]);
    const failures = new Map();
    one.failure.forEach((n) => n && failures.set(n, (failures.get(n) ?? 0) + 1));
    const named = ([n, times]) => [store.failures[n], `${printable(store.failures[n]).replaceAll("_", " ")} (${times})`];
    const kinds = [...failures].sort((x, y) => y[1] - x[1]).map(named);
    options(form.elements.failure, [["", "any"], ...kinds]);
    const marks = new Map();
    one.marks?.flat().forEach((n) => marks.set(n, (marks.get(n) ?? 0) + 1));
    const marked = [...marks].sort((x, y) => y[1] - x[1]);
    const single = marked.map(([n, times]) => [store.marks[n], `${printable(store.marks[n])} (${times})`]);
    const several = view.mark && !single.some(([name]) => name === view.mark); // a link may ask for any of some
    if (several) single.push([view.mark, printable(view.mark).replaceAll(",", " or ")]);
    options(form.elements.mark, [["", "any"], ...single]);
    for (const name of ["level", "outcome", "failure", "mark", "sort"]) form.elements[name].value = view[name];
    form.elements.back.checked = Boolean(view.back);
    if (document.activeElement !== form.elements.text) form.elements.text.value = view.text;
    for (const button of this.root.querySelectorAll("[data-view][aria-pressed]")) {
      button.setAttribute("aria-pressed", String(Boolean(view[button.dataset.view])));
    }
  }

  refresh() {
    const { view, store } = this;
    const [a, b] = this.arms.map((n) => store.arms[n]);
    const failure = view.failure ? store.failures.indexOf(view.failure) : null;
    const marks = view.mark ? view.mark.split(",").map((name) => store.marks.indexOf(name)) : null;
    const sort = SORTS[view.sort] ?? SORTS[""];
    const found = store.keys.map((_, n) => n).filter((n) => passes(n, view, store, a, b, this.matches, failure, marks));
    found.sort((x, y) => sort.of(x, store, a) - sort.of(y, store, a) || x - y);
    this.list.set(found, this.arms);
    this.tell(found.length);
    const open = found.includes(this.number) ? this.number : (found.find((n) => a.back[n]) ?? found[0]);
    const asked = view.trace ? store.number.get(view.trace) : open;
    if (asked === undefined) {
      if (view.trace) this.detail.missing(view.trace);
      else this.root.querySelector(".tw-detail").hidden = true;
      this.opened = null;
      return;
    }
    this.list.select(asked);
    const name = `${asked} ${this.arms} ${view.step}`;
    if (this.opened === name) return; // a filter changed, not what is open
    this.opened = name;
    this.number = asked;
    this.ready = this.detail.open(asked, this.arms, view.step === "" ? null : Number(view.step));
  }

  tell(found) {
    const { store, searching } = this;
    const damaged = store.arms.filter((arm) => arm.damaged).map((arm) => `${count(arm.damaged, "row")} of ${arm.name}`);
    const said = `${found.toLocaleString("en")} of ${count(store.keys.length, "problem")}`;
    this.said.querySelector("[data-part=said]").textContent = searching ? `${said} so far; ${searching}` : said;
    const lost = damaged.length ? `Damaged and left out: ${damaged.join(", ")}.` : "";
    this.said.querySelector("[data-part=damaged]").textContent = lost;
    this.said.querySelector("[data-view=stop]").hidden = !searching;
  }

  async search() {
    this.hunt?.abort();
    const hunt = (this.hunt = new AbortController());
    this.matches = this.view.text ? new Map() : null;
    this.searching = this.view.text ? "searching" : "";
    this.refresh();
    if (!this.view.text) return;
    await this.store.search(this.view.text, (matches, done, blocks) => {
      if (hunt.signal.aborted) return;
      this.matches = matches;
      this.searching = done < blocks ? `${Math.round((100 * done) / blocks)} % searched` : "";
      this.refresh();
    }, hunt.signal);
  }

  // -- from the page to the address ----------------------------------------------------------------------------------

  // Changes the view; a new trace is a new entry of the history, everything else replaces the last.
  change(part, entry = false) {
    const view = { ...this.view, ...part };
    const now = performance.now();
    const push = entry && now - (this.pushed ?? -Infinity) > 700; // holding a key down is one visit
    if (entry) this.pushed = now;
    history[push ? "pushState" : "replaceState"](null, "", writeAddress(view));
    this.go(view);
  }

  choose(number) {
    this.change({ trace: this.store.keys[number], step: "" }, true);
  }

  filtered(name) {
    const { form } = this;
    const value = (field) => form.elements[field].value;
    if (name === "a" || name === "b") {
      const [a, b] = [value("a"), value("b")];
      const pair = Boolean(b) && a !== b;
      const outcome = !pair && OUTCOMES[this.view.outcome]?.pair ? "" : this.view.outcome;
      const trace = this.store.keys[this.number] ?? this.view.trace; // stay with the problem
      this.change({ arms: pair ? `${a},${b}` : a, failure: "", mark: "", outcome, trace, step: "" });
    } else if (name === "back") {
      this.change({ back: form.elements.back.checked ? "1" : "" });
    } else if (name === "text") {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.change({ text: value("text").trim() }), 250);
    } else {
      this.change({ [name]: value(name) });
    }
  }

  // The open trace at the place of its replay. (The address itself does not follow the replay: a history of ticks
  // helps nobody.)
  link() {
    const { replay } = this.detail;
    const step = replay.atEnd ? "" : String(replay.step || "");
    const arms = this.arms.map((n) => this.store.arms[n].name).join(",");
    const address = writeAddress({ ...this.view, trace: this.store.keys[this.number], arms, step });
    return location.href.replace(/#.*$/s, "") + address;
  }

  click(button) {
    const what = button?.dataset.view;
    const closed = button?.getAttribute("aria-expanded") === "false";
    if (what === "filters") button.setAttribute("aria-expanded", String(closed));
    else if (what === "colour" || what === "fold") this.change({ [what]: this.view[what] ? "" : "1" });
    else if (what === "stop") {
      this.hunt?.abort();
      this.searching = "";
      this.refresh();
    } else if (what === "previous" || what === "next") this.list.move(what === "next" ? 1 : -1);
    else if (what === "link") this.copy(button);
  }

  async copy(button) {
    const link = this.link();
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(link);
      button.textContent = "copied";
    } catch {
      history.replaceState(null, "", new URL(link).hash); // no clipboard here: the address bar has it
      button.textContent = "it is in the address bar";
    }
    setTimeout(() => (button.textContent = said), 1600);
  }

  key(event) {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const timeline = target.matches("[type=range]") && (event.key === " " || event.shiftKey);
    if (target.matches("input, select") && !timeline) return;
    if (event.key === "j" || event.key === "k") this.list.move(event.key === "j" ? 1 : -1);
    else if (event.key === "Enter" && target.matches(".tw-list")) this.root.querySelector(".tw-detail").focus();
    else if (target.matches("button, summary") && event.key === " ") return;
    else if (target.closest(".tw-list") || !this.detail.replay.key(event)) return;
    event.preventDefault();
  }
}

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, label]) => el("option", { value }, label)));
}

window.thinktwice = Object.assign(window.thinktwice ?? {}, { Tape, eventsOf, perform });

(async () => {
  const root = document.getElementById("traces");
  if (!root?.querySelector(".tw-filters")) return;
  if (!window.DecompressionStream) {
    root.querySelector(".tw-count").textContent = "This browser cannot unpack the traces; a newer one can.";
    return;
  }
  window.thinktwice.viewer = new Viewer(root, await Store.open());
  root.setAttribute("data-ready", "");
})();
