// Text for the eye. Everything a model wrote reaches the page through textContent; nothing here reads markup.

// What a step's kind looks like. A new kind needs one line here, and may have a colour in style.css; a kind that is
// not in the table gets a block of its own under its own name. `flow` kinds run on in one text, others stand apart.
const KINDS = {
  text: { label: "written", flow: true },
  error: { label: "taken back", flow: true },
  undo: { label: "undo", flow: true },
  plan: { label: "plan", colour: "--plan" },
  action: { label: "action", colour: "--action" },
  observation: { label: "observation", colour: "--observation" },
  critique: { label: "critique", colour: "--critique" },
  answer: { label: "answer", colour: "--answer" },
  sample: { label: "outvoted sample", colour: "--faint" },
};
const kindOf = (name) => (Object.hasOwn(KINDS, name) ? KINDS[name] : { label: name, colour: "--soft" });

// Characters that show nothing, or rewrite what stands around them: controls, bidi marks, zero-width, tags, halves.
const HIDDEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e" +
    "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\p{Cs}" +
    "\\u{e0000}-\\u{e0fff}]",
  "gu",
);

function codeName(character) {
  const code = character.codePointAt(0);
  const digits = code.toString(16);
  if (code < 0x100) return "\\x" + digits.padStart(2, "0");
  return code < 0x10000 ? "\\u" + digits.padStart(4, "0") : "\\U" + digits.padStart(8, "0");
}

const printable = (text) => text.replace(HIDDEN, codeName);

// Makes an element: el("button", {class: "x", onclick: f}, "text", child). Strings become text nodes, never markup.
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null && child !== false && child !== ""));
  return node;
}

// Fills an element with text, spelling hidden characters out so that they can be seen and told from real backslashes.
function show(node, text, limit = 2000) {
  const whole = text.length;
  let end = Math.min(whole, limit);
  if (end < whole && /[\ud800-\udbff]/.test(text[end - 1])) end -= 1; // not through the middle of a character
  const part = text.slice(0, end);
  let from = 0;
  for (const found of part.matchAll(HIDDEN)) {
    if (found.index > from) node.append(part.slice(from, found.index));
    node.append(el("span", { class: "tw-code" }, codeName(found[0])));
    from = found.index + found[0].length;
  }
  if (from < end) node.append(part.slice(from));
  if (end < whole) {
    const more = el("button", { type: "button", class: "tw-more" }, `show all ${count(whole, "character")}`);
    more.addEventListener("click", (event) => {
      event.stopPropagation();
      node.replaceChildren();
      show(node, text, Infinity);
    });
    node.append(more);
  }
  return node;
}

// A token by itself: its breaks, and the spaces at its edges, as signs.
const edged = (text) => text.replaceAll("\n", "↵").replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));

const minus = (text) => text.replace("-", "−");

// "0.93", "> 0.999", "4e−5"
function share(logprob) {
  const p = Math.exp(logprob);
  if (p >= 0.9995) return "> 0.999";
  return p >= 0.0995 ? p.toFixed(2) : p >= 0.00095 ? p.toFixed(3) : minus(p.toExponential(0));
}

// "0.93 · −0.07 nats"
function chance(logprob) {
  if (logprob == null) return "probability not recorded";
  return `${share(logprob)} · ${minus(logprob.toFixed(2)).replace(/^−?0\.00$/, "0.00")} nats`;
}

// How surprising, in six steps: 0 nothing to see, 5 very.
function surprise(logprob) {
  return [0.99, 0.9, 0.7, 0.4, 0.1].filter((edge) => logprob != null && Math.exp(logprob) < edge).length;
}

const count = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
