// One model's side of the playground: its tape, what it is doing, and how it ended.

import { count, el, post } from "./dom.js";

const { Tape } = window.thinktwice;
const TOKENS = new Set(["written", "inserted", "rejected"]);
const HOLD = 450; // milliseconds that doomed text stands before it is struck, where tokens are shown one by one
const TICK = 16;

export class Pane {
  constructor(root, { ended }) {
    this.root = root;
    this.ended = ended;
    this.state = root.querySelector(".pane-state");
    this.foot = root.querySelector(".pane-end");
    this.tapeHome = root.querySelector(".tape");
    this.running = false;
  }

  // Empties the pane; `words` say what it waits for.
  clear(words = "") {
    this.stop();
    this.tape = null;
    this.tapeHome.replaceChildren();
    this.foot.replaceChildren();
    this.say(words);
  }

  say(words, bad = false) {
    this.state.textContent = words;
    this.state.classList.toggle("bad", bad);
  }

  // Asks, and shows the answer as it comes, at most `pace` tokens a second (0: as fast as it comes).
  async ask(request, { pace, run }) {
    this.clear("");
    const home = el("div");
    this.tapeHome.append(home);
    this.tape = new Tape(home, { label: `reply of ${request.model}` });
    this.queue = [];
    this.pace = pace;
    this.run = run;
    this.running = true; // something may still come: tokens, or the judgement
    this.answered = false; // the reply is whole
    this.reading = true;
    this.credit = 0;
    this.heldUntil = 0;
    const abort = (this.abort = new AbortController());
    this.last = performance.now();
    this.timer = setInterval(() => this._pump(), TICK);
    this.say("asking …");
    try {
      await post("/playground/answer", request, { signal: abort.signal, told: (message) => this.queue.push(message) });
    } catch (error) {
      if (abort.signal.aborted) return;
      this.queue.push({ kind: "failed", message: `the answer broke off: ${error.message}` });
    }
    if (this.abort === abort) this.reading = false;
  }

  // Stops the decoding, here and in the server.
  stop() {
    if (!this.running) return;
    this.abort.abort();
    if (!this.answered) this.tape.end("stopped by you");
    this.say("");
    this._end();
  }

  _end() {
    clearInterval(this.timer);
    this.running = false;
    this.ended(this);
  }

  _pump() {
    const now = performance.now();
    this.credit = this.pace ? Math.min(this.credit + ((now - this.last) * this.pace) / 1000, 1 + this.pace / 10) : 500;
    this.last = now;
    while (this.queue.length && now >= this.heldUntil) {
      const message = this.queue[0];
      if (TOKENS.has(message.kind)) {
        if (this.credit < 1) return;
        this.credit -= 1;
      } else if (message.kind === "deleted" && this.pace && !message.held) {
        message.held = true;
        this.heldUntil = now + HOLD;
        return;
      }
      this.queue.shift();
      this._show(message);
    }
    if (!this.reading && !this.queue.length) this._end();
  }

  _show(message) {
    const { kind, text, logprob } = message;
    const step = message.undo ? "undo" : "text";
    if (kind === "loading") this.say("loading the model …");
    else if (kind === "waiting") this.say("waiting: these weights are busy with another answer …");
    else if (kind === "started") this.say("answering …");
    else if (kind === "written") this.tape.write(text, { logprob, kind: step });
    else if (kind === "inserted") this.tape.write(text, { inserted: true });
    else if (kind === "rejected") this.tape.reject(text, { logprob });
    else if (kind === "deleted") this.tape.remove(message.n);
    else if (kind === "banned") this.tape.ban(message.texts);
    else if (kind === "stopped") this._sum(message);
    else if (kind === "judging") this.say("checking the answer …");
    else if (kind === "judged") this._judge(message);
    else if (kind === "failed") this._fail(message.message);
  }

  get answering() {
    return this.running && !this.answered;
  }

  _fail(words) {
    this._whole();
    this.foot.replaceChildren(el("p", { class: "failed", role: "alert" }, words));
  }

  _whole() {
    this.answered = true;
    this.say("");
    this.ended(this);
  }

  _sum(message) {
    this.tape.end(message.stop);
    this._whole();
    const { tokens, taken_back: back, retractions, seconds } = message;
    const rate = seconds > 0 ? `${Math.round(tokens / seconds).toLocaleString("en")} tokens/s` : "";
    const facts = [
      count(tokens, "token"),
      retractions ? `${back} taken back in ${count(retractions, "retraction")}` : "nothing taken back",
      `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`,
      rate,
    ];
    this.foot.replaceChildren(el("p", { class: "facts" }, facts.filter(Boolean).join(" · ")));
  }

  _judge({ right, value, answer, reference, key, level }) {
    this.say("");
    const kind = right == null ? "" : right ? "right" : value > 0 ? "partly" : "wrong";
    const against = `${answer ?? "no answer found"} (reference: ${reference})`;
    const words = {
      "": `reference answer: ${reference}`,
      right: `right: ${answer}`,
      partly: `partly right, ${value?.toFixed(2)}: ${against}`,
      wrong: `wrong: ${against}`,
    }[kind];
    const verdict = el("p", { class: `judged ${kind}` });
    const mark = { right: "✓ ", partly: "≈ ", wrong: "✗ " }[kind];
    if (mark) verdict.append(el("span", { "aria-hidden": "true" }, mark));
    verdict.append(el("bdi", {}, words));
    const link = el("a", { href: `/run/${encodeURIComponent(this.run)}#trace=${encodeURIComponent(key)}` });
    link.textContent = "as it was answered in the run";
    this.foot.append(verdict, el("p", { class: "soft" }, `a test problem of level ${level} · `, link));
  }
}
