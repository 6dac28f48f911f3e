// The list of problems: a listbox of any length of which only the rows in sight are in the page.
const ROW = 58; // pixels, as in viewer.css

class Listing {
  constructor(box, store, { chosen }) {
    this.box = box;
    this.rows = box.querySelector(".tw-rows");
    this.store = store;
    this.chosen = chosen;
    this.numbers = [];
    this.current = null; // problem number
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) this.chosen(Number(row.dataset.number));
    });
    new ResizeObserver(() => this.draw()).observe(box);
  }

  // Shows these problems, with the marks of all arms; `arms` are the numbers of those looked at.
  set(numbers, arms) {
    this.numbers = numbers;
    this.arms = arms;
    this.rows.style.height = `${numbers.length * ROW}px`;
    this.draw(true);
  }

  select(number) {
    this.current = number;
    const place = this.numbers.indexOf(number);
    if (place >= 0) {
      const top = place * ROW;
      if (top < this.box.scrollTop) this.box.scrollTop = top;
      const below = top + ROW - this.box.clientHeight;
      if (below > this.box.scrollTop) this.box.scrollTop = below;
    }
    this.draw(true);
  }

  move(by) {
    if (!this.numbers.length) return;
    const place = this.numbers.indexOf(this.current);
    const next = place < 0 ? 0 : Math.max(0, Math.min(this.numbers.length - 1, place + by));
    if (next !== place) this.chosen(this.numbers[next]);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 1);
    const by = {
      ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity,
    }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    this.move(by);
  }

  draw(fresh = false) {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - 4);
    const last = Math.min(this.numbers.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + 4);
    if (!fresh && first === this.first && last === this.last) return;
    [this.first, this.last] = [first, last];
    this.rows.replaceChildren(...this.numbers.slice(first, last).map((number, i) => this.row(number, first + i)));
    const active = this.rows.querySelector("[aria-selected=true]");
    if (active) this.box.setAttribute("aria-activedescendant", active.id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  row(number, place) {
    const { store } = this;
    const [a] = this.arms;
    const others = store.arms.map((_, i) => i).filter((i) => !this.arms.includes(i));
    const marks = [...this.arms, ...others].map((i) => {
      const arm = store.arms[i];
      const mark = RIGHT[arm.right[number]];
      const looked = this.arms.includes(i) ? " tw-looked" : "";
      const look = `tw-mark tw-${mark.look ?? mark.name}${looked} c${arm.colour}`;
      return el("i", { class: look, title: `${arm.name}: ${mark.name}` }, mark.sign);
    });
    const said = this.arms.map((i) => `${store.arms[i].name} ${RIGHT[store.arms[i].right[number]].name}`).join(", ");
    const back = store.arms[a].back[number];
    const turns = store.arms[a].turns?.[number];
    const told = turns ? `${count(turns.length, "turn")}; ` : "";
    const question = printable(store.questions[number]);
    return el(
      "div",
      {
        role: "option", id: `tw-row-${number}`, class: "tw-row", "data-number": number,
        "aria-selected": String(number === this.current),
        "aria-posinset": place + 1, "aria-setsize": this.numbers.length,
        "aria-label": `level ${store.levels[number]}; ${said}${back ? `; took back ${back}` : ""}; ${told}${question}`,
        style: `top: ${place * ROW}px`,
      },
      el("span", { class: "tw-question" }, question),
      el("span", { class: "tw-facts" },
        el("span", { class: "tw-marks" }, ...marks),
        turns && miniature(turns),
        back > 0 && el("span", { class: "tw-back" }, `↶ ${back}`),
        el("span", { class: "tw-level" }, `level ${store.levels[number]}`)),
    );
  }
}

const RIGHT = {
  1: { name: "right", sign: "✓" },
  0: { name: "wrong", sign: "✗" },
  p: { name: "partly right", sign: "≈", look: "partly" },
  u: { name: "unscored", sign: "?" },
  "-": { name: "absent", sign: "·" },
};
