// The traces inside the page: a small index, and blocks of problems that are unpacked when they are looked at.
// viewer.py writes them and says what is in them.
async function unpack(id) {
  const packed = document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

class Store {
  static async open() {
    return new Store(await unpack("traces-index"));
  }

  constructor(index) {
    Object.assign(this, index); // size, pair, level, keys, levels, questions, arms, failures, marks, stops
    this.number = new Map(this.keys.map((key, i) => [key, i]));
    this.armNumber = new Map(this.arms.map((arm, i) => [arm.name, i]));
    this.blocks = Math.ceil(this.keys.length / this.size);
    this._recent = new Map(); // block number -> promise of its content, a few of them
  }

  block(number) {
    const found = this._recent.get(number) ?? unpack(`traces-${number}`);
    this._recent.delete(number);
    this._recent.set(number, found); // the newest is last
    if (this._recent.size > 6) this._recent.delete(this._recent.keys().next().value);
    return found;
  }

  // Everything about one problem: question, reference, and the trace of each arm (null where an arm has none).
  async problem(number) {
    const block = await this.block(Math.floor(number / this.size));
    const place = number % this.size;
    const traces = block.traces[place].map((row, arm) => (row ? this._trace(row, number, this.arms[arm]) : null));
    const { questions, references, support } = block;
    return { question: questions[place], reference: references[place], support: support[place], traces };
  }

  _trace([answer, why, value, error, steps, notes], number, arm) {
    return {
      answer, why, value, error,
      right: arm.right[number],
      failure: this.failures[arm.failure[number]],
      stop: this.stops[arm.stop[number]],
      back: arm.back[number],
      sampled: arm.tokens[number],
      notes: notes.map(([step, what, text, mark]) => ({ step, what, text, mark })),
      steps: steps.map(([kind, text, flags, tokens, cuts, nats, rewind, sources]) => ({
        kind, text, tokens,
        sampled: Boolean(flags & 1),
        kept: Boolean(flags & 2),
        cuts: cuts || null,
        logprobs: nats ? nats.map((n) => -n / 1000) : null,
        rewind: rewind ? { n: rewind[0], ban: rewind[1] } : null,
        sources: sources || [],
      })),
    };
  }

  // Looks for a text in all questions and replies (what was taken back included), block after block, and tells
  // `found(matches, done, blocks)` after each; matches: problem number -> {question, arms: a boolean for each arm}.
  async search(text, found, signal) {
    const wanted = text.toLowerCase();
    const matches = new Map();
    for (let number = 0; number < this.blocks; number += 1) {
      const block = await unpack(`traces-${number}`);
      await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
      if (signal.aborted) return;
      block.traces.forEach((row, i) => {
        const question = block.questions[i].toLowerCase().includes(wanted);
        const says = (trace) => trace[4].map((step) => step[1]).join("").toLowerCase().includes(wanted);
        const arms = row.map((trace) => trace !== null && says(trace));
        if (question || arms.includes(true)) matches.set(number * this.size + i, { question, arms });
      });
      found(matches, number + 1, this.blocks);
    }
  }
}
