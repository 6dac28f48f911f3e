// Small things every page of the local server uses. Text reaches the page as text nodes only, never as markup.

export const $ = (id) => document.getElementById(id);

// Makes an element: el("p", {class: "soft"}, "text", child). Strings become text nodes.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null && child !== ""));
  return node;
}

export const setup = () => JSON.parse($("setup").textContent);

const minus = (text) => text.replace("-", "−");
export const points = (fraction) => (fraction >= 0 ? "+" : "") + minus((100 * fraction).toFixed(1));
export const signed = (number) => (number > 0 ? "+" : "") + minus(String(number));
export const count = (n, one, many = `${one}s`) => `${Math.round(n).toLocaleString("en")} ${n === 1 ? one : many}`;

// "8.4 s", "2 min 05 s", "3 h 12 min"
export function duration(seconds) {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : seconds.toFixed(0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

// "just now", "5 min ago", "yesterday", or the day
export function ago(epoch, now = Date.now() / 1000) {
  const seconds = now - epoch;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 172800) return "yesterday";
  return new Date(1000 * epoch).toLocaleDateString("en", { year: "numeric", month: "short", day: "numeric" });
}

// Reads server-sent events from the answer to a POST, which EventSource cannot ask for.
export async function post(address, value, { signal, told }) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(value),
    signal,
  });
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    throw new Error(said?.message ?? `the server answered ${answer.status}`);
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value: part } = await reader.read();
    if (done) return;
    const events = (rest + part).split("\n\n");
    rest = events.pop();
    for (const event of events) if (event.startsWith("data: ")) told(JSON.parse(event.slice(6)));
  }
}
