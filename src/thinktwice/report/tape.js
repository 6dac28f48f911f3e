// A reply while it is written: tokens appear, are struck where they stand when taken back, and say how probable they
// were. The replay drives one from a trace, a live page from events. Law: `visible` is what a user would see.
//
//   const tape = new Tape(element, {label: "reply of the model"});
//   tape.write("7", {logprob: -0.1}); tape.remove(1); tape.ban(["7"]); tape.write("8"); tape.end("done");
class Tape {
  // `fold`: tokens put on the page before the rest waits behind a button. `about`: by step, what it is in an episode
  // (episode.js); then each turn has a place of its own.
  constructor(element, { label = "reply", fold = 4000, about = null } = {}) {
    this.element = element;
    this.fold = fold;
    this.about = about;
    element.classList.add("tw-tape");
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", label);
    element.addEventListener("pointerover", (event) => this._hover(event));
    element.addEventListener("pointerleave", () => tip.hide());
    element.addEventListener("focusin", (event) => this._hover(event));
    element.addEventListener("focusout", () => tip.hide());
    element.addEventListener("click", (event) => this._hover(event));
    element.addEventListener("keydown", (event) => this._walk(event));
    this.clear();
  }

  clear() {
    this.items = []; // everything ever put on the tape, in order
    this._stack = []; // the tokens that stand
    this._break = false; // a struck line's break is still to come
    this._blank();
  }

  // The model wrote a token (inserted: the decoder put it there), and it stands until it is removed.
  write(text, { logprob = null, kind = "text", inserted = false, step = null } = {}) {
    const item = { text, logprob, kind, step, fate: inserted ? "inserted" : "kept", broken: this._break };
    this._break = false;
    this._stack.push(item);
    this._add(item);
  }

  // The last n tokens that stand are taken back; they stay where they are, struck through.
  remove(n) {
    const gone = this._stack.splice(Math.max(0, this._stack.length - n));
    const last = gone.findLast((item) => item.kind !== "undo");
    for (const item of gone) {
      item.fate = "gone";
      // What replaces a struck line stands below it: its break comes after the sign that took it back.
      item.moved = item === last && item.text.endsWith("\n");
      if (item.moved) this._break = true;
      this._dress(item);
    }
  }

  // A token was drawn but never entered the reply. `kind: "sample"` is one of a whole reply that was set aside.
  reject(text, { logprob = null, kind = "text", step = null } = {}) {
    this._add({ text, logprob, kind, step, fate: "rejected", moved: text.endsWith("\n") && kindOf(kind).flow });
  }

  // These texts cannot come next, here; `why` says on whose account.
  ban(texts, why = "") {
    this._add({ texts: [...texts], why, fate: "ban" });
  }

  // Nothing more comes, and why.
  end(stop, error = "") {
    this._add({ fate: "end", stop, text: error });
  }

  get visible() {
    return this._stack.map((item) => item.text).join("");
  }

  // -- on the page -----------------------------------------------------------------------------------------------

  _blank() {
    this._block = null;
    this._shown = 0;
    this._more = null;
    this._turn = null; // the one that is written, in an episode
    this.element.replaceChildren();
  }

  _add(item) {
    this.items.push(item);
    if (this._shown < this.fold) this._place(item);
    else this._postpone();
  }

  _place(item) {
    this._shown += 1;
    const target = this._target(item);
    if (item.broken) target.append(el("br", { class: "tw-broken" }));
    item.node = this._node(item);
    NODES.set(item.node, item);
    this._dress(item);
    target.append(item.node);
  }

  _target(item) {
    const kind = item.fate === "ban" ? (this._block?.kind ?? "text") : item.fate === "end" ? "end" : item.kind;
    const flows = kind === "end" || kindOf(kind).flow;
    const name = flows ? "flow" : kind;
    const about = this.about?.[item.step];
    const place = this._placeOf(about);
    // What was taken back in the middle of an action stays where it stood in it.
    const inside = about && ["error", "undo"].includes(item.kind) || (about && item.fate === "rejected");
    if (inside && this._block?.name === "action" && this._block.place === place) return this._block.node;
    const whole = flows || item.fate === "ban" || ["action", "answer"].includes(kind); // its steps are one
    if (this._block?.name === name && (whole || this._block.step === item.step) && this._block.place === place) {
      return this._block.node;
    }
    const node = el("div", { class: flows ? "tw-flow" : "tw-block", dir: "auto" });
    if (flows) {
      place.append(node);
    } else {
      const { label, colour } = kindOf(kind);
      const head = el("div", { class: "tw-label" });
      if (about) head.append(...heading(kind, about));
      else show(head, label, 60);
      const block = el("div", { class: "tw-step", "data-kind": kind }, head, node);
      block.style.setProperty("--kind", `var(${colour})`);
      place.append(block);
    }
    this._block = { name, kind, node, step: item.step, place };
    return node;
  }

  // Where a step goes: into its turn, where there are turns.
  _placeOf(about) {
    if (!about) return this._turn?.node ?? this.element;
    if (this._turn?.number !== about.turn) {
      const sign = el("span", { class: "tw-turn-number", "aria-hidden": "true" }, String(about.turn));
      const node = el("div", { class: "tw-turn", role: "group", "aria-label": `turn ${about.turn}` }, sign);
      this._turn = { number: about.turn, node };
      this.element.append(node);
    }
    return this._turn.node;
  }

  _node(item) {
    if (item.fate === "ban") {
      const node = el("span", { class: "tw-ban" }, item.why && `${item.why}; `, "cannot be: ");
      item.texts.forEach((text, i) => {
        if (i) node.append(", ");
        node.append(show(el("bdi", {}), edged(text), 80));
      });
      return node;
    }
    if (item.fate === "end") {
      const node = el("span", { class: "tw-end", "data-stop": item.stop }, STOPS[item.stop] ?? String(item.stop));
      if (item.text) show(node, `: ${item.text}`);
      return node;
    }
    const node = el("span", { class: "tw-token", tabindex: this._shown === 1 ? 0 : -1 });
    if (item.kind === "undo") {
      node.append("↶");
    } else if (item.text.endsWith("\n")) {
      if (item.text.length > 1) show(node, item.text.slice(0, -1));
      node.append(el("span", { class: "tw-newline" }, "\n"));
    } else {
      show(node, item.text);
    }
    return node;
  }

  _dress(item) {
    const { node } = item;
    if (!node?.classList.contains("tw-token")) return;
    const names = ["tw-token", `tw-${item.fate}`];
    if (item.kind === "undo") names.push("tw-undo");
    if (item.moved) names.push("tw-moved");
    if (item.text === "") names.push("tw-empty");
    node.className = names.join(" ");
    node.dataset.surprise = surprise(item.logprob);
    if (item.fate === "gone") node.setAttribute("role", "deletion");
  }

  _postpone() {
    if (!this._more) {
      this._more = el("button", { type: "button", class: "tw-more", onclick: () => this.unfold() });
      this.element.append(this._more);
    }
    this._more.textContent = `show all: ${count(this.items.length - this._shown, "more token")}`;
  }

  // Puts everything on the page, some at a time so that the page stays alive.
  unfold() {
    this.fold = Infinity;
    this._more?.remove();
    this._more = null;
    const go = () => {
      const rest = this.items.slice(this._shown, this._shown + 2000);
      for (const item of rest) this._place(item);
      if (this._shown < this.items.length) requestAnimationFrame(go);
    };
    go();
  }

  _hover(event) {
    const node = event.target.closest?.(".tw-token");
    if (node) tip.show(node, NODES.get(node));
    else tip.hide();
  }

  // The tape is one stop of the Tab key; arrows move from token to token.
  _walk(event) {
    const tokens = [...this.element.querySelectorAll(".tw-token")];
    const at = tokens.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (event.key === "Escape") tip.hide();
    if (at < 0 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const next = tokens[Math.max(0, Math.min(tokens.length - 1, to))];
    tokens[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

const NODES = new WeakMap(); // token on the page -> its item
const STOPS = { done: "end", length: "out of context", budget: "out of tokens", error: "error" };
const FATES = {
  kept: "kept",
  gone: "taken back",
  rejected: "drawn, but never part of the reply",
  inserted: "inserted, not written by the model",
};

// The one small window that says what a token is.
const tip = {
  node: null,
  show(target, item) {
    this.node ??= document.body.appendChild(el("div", { class: "tw-tip", role: "tooltip", id: "tw-tip" }));
    const fate = item.kind === "sample" ? "set aside" : FATES[item.fate];
    const word = item.kind === "undo" ? `undo, ${fate === "kept" ? "waiting" : "done"}` : fate;
    const name = show(el("bdi", { class: "tw-tip-text" }), edged(item.text) || "(no text)", 60);
    const facts = item.fate === "inserted" ? word : `${chance(item.logprob)} · ${word}`;
    this.node.replaceChildren(name, el("span", {}, facts));
    if (item.logprob != null) {
      const bar = el("i", { class: "tw-bar" });
      bar.style.setProperty("--share", Math.exp(item.logprob));
      this.node.append(bar);
    }
    this.node.hidden = false;
    this.target?.removeAttribute("aria-describedby");
    this.target = target;
    target.setAttribute("aria-describedby", "tw-tip");
    const at = target.getClientRects()[0] ?? target.getBoundingClientRect();
    const wide = this.node.offsetWidth;
    const left = Math.min(Math.max(8, at.left), document.documentElement.clientWidth - wide - 8);
    const above = at.top - this.node.offsetHeight - 6;
    this.node.style.left = `${left + window.scrollX}px`;
    this.node.style.top = `${(above > 4 ? above : at.bottom + 6) + window.scrollY}px`;
  },
  hide() {
    if (this.node) this.node.hidden = true;
    this.target?.removeAttribute("aria-describedby");
  },
};
