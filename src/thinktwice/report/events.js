// What happened, one thing after the other, from the steps of a trace. Law: after the last event the tokens that stand
// spell the trace's reply, whatever the steps say; between them, what stands is what the model saw.
//
// A trace says exactly what went when (`rewind` on a step). Where it does not (it was made for training, or the model
// kept what it took back before its eyes), what was taken back goes at the end of each run of undo tokens.
function eventsOf(trace) {
  const events = [];
  const standing = []; // {tokens, kept} of what is written and not taken back
  const exact = trace.steps.some((step) => step.rewind);

  // Takes back at most `tokens` tokens from the end, and never one that is part of the reply.
  const strike = (tokens, step) => {
    let left = tokens;
    let n = 0;
    while (left > 0 && standing.length && !standing[standing.length - 1].kept) {
      left -= standing.pop().tokens;
      n += 1;
    }
    if (n) events.push({ type: "remove", n, step });
  };

  trace.steps.forEach((step, index) => {
    if (step.kept) strike(Infinity, index); // nothing doomed stays before what survives
    const rejected = step.kind === "text" && !step.kept;
    const kind = rejected && step.tokens > 1 && !step.rewind ? "sample" : step.kind;
    for (const { text, logprob, tokens } of piecesOf(step)) {
      const type = rejected ? "reject" : step.sampled ? "write" : "insert";
      events.push({ type, text, logprob, kind, step: index, kept: step.kept });
      if (!rejected) standing.push({ tokens, kept: step.kept });
    }
    if (step.rewind) {
      strike(step.rewind.n, index);
      if (step.rewind.ban.length) events.push({ type: "ban", texts: step.rewind.ban, step: index });
    } else if (!exact && step.kind === "undo" && trace.steps[index + 1]?.kind !== "undo") {
      strike(Infinity, index);
    }
  });
  strike(Infinity, trace.steps.length - 1);
  events.push({ type: "end", stop: trace.stop, error: trace.error, step: Math.max(0, trace.steps.length - 1) });
  return events;
}

// The tokens of a step with their text; the whole step in one piece where nobody knows its cuts.
function piecesOf(step) {
  if (!step.cuts) return [{ text: step.text, logprob: null, tokens: Math.max(1, step.tokens) }];
  let at = 0;
  return step.cuts.map((length, i) => {
    const text = step.text.slice(at, (at += length));
    return { text, logprob: step.logprobs ? step.logprobs[i] : null, tokens: 1 };
  });
}

// Does one event on a tape.
function perform(tape, event) {
  const { type, text, logprob, kind, step } = event;
  if (type === "write") tape.write(text, { logprob, kind, step });
  else if (type === "insert") tape.write(text, { kind, step, inserted: true });
  else if (type === "reject") tape.reject(text, { logprob, kind, step });
  else if (type === "remove") tape.remove(event.n);
  else if (type === "ban") tape.ban(event.texts, tape.about?.[step]?.mark);
  else tape.end(event.stop, event.error);
}
