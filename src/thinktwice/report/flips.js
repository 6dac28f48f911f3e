// Paired flips of any two arms at any level. The page already shows the headline's; the table of all outcomes is
// unpacked when it is first needed. Everything a model wrote goes in as text.
{
  const data = document.getElementById("flips-data");
  const section = document.getElementById("flips");
  const kinds = ["both", "gained", "lost", "neither"];
  const shown = 6; // problems of a list that are not folded
  const form = section.querySelector("form");
  let table = null; // the promise of the unpacked table
  let order = []; // the keys in the order of the squares

  const unpack = async () => {
    const bytes = Uint8Array.from(atob(data.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };
  const all = () => (table ??= unpack());

  const part = (name) => section.querySelector(`[data-flips="${name}"]`);
  const points = (share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}`;
  const make = (tag, props = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), props);
    element.append(...children);
    return element;
  };

  /** Sort the problems of a level by what two arms made of them. */
  const compare = (level, a, b) => {
    const groups = { both: [], gained: [], lost: [], neither: [] };
    level.keys.forEach((_, i) => {
      const [x, y] = [level.right[a][i], level.right[b][i]];
      if (x === "-" || y === "-") return;
      groups[x === "1" ? (y === "1" ? "both" : "gained") : y === "1" ? "lost" : "neither"].push(i);
    });
    return groups;
  };

  const item = (level, names, a, b, i) => {
    const said = (arm) => {
      const [sign, className] = { 1: ["✓", "right"], p: ["≈", "partly"] }[level.right[arm][i]] ?? ["✗", "wrong"];
      return make("b", { className }, `${sign} ${level.answers[arm][i] || "no answer"}`);
    };
    const pair = [names[a], names[b]].map(encodeURIComponent).join(",");
    const href = `#trace=${encodeURIComponent(level.keys[i])}&arms=${pair}`;
    return make(
      "li", {},
      make("a", { href }, level.questions[i]),
      make("span", { className: "said" }, `${names[a]} `, said(a), ` · ${names[b]} `, said(b), ` · reference\u00a0${level.references[i]}`),
    );
  };

  /** Draw every problem as a square, as figures.py does. */
  const draw = (groups, n) => {
    const rows = Math.max(1, Math.ceil(Math.sqrt(n / 5)));
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "chart");
    svg.setAttribute("viewBox", `0 0 ${10 * Math.ceil(n / rows) - 2} ${10 * rows - 2}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `Every problem as a square: ${groups.both.length} both right, ${groups.gained.length} gained`);
    let place = 0;
    for (const kind of kinds) {
      const path = document.createElementNS(svg.namespaceURI, "path");
      let drawn = "";
      for (const end = place + groups[kind].length; place < end; place += 1) {
        drawn += `M${10 * Math.floor(place / rows)} ${10 * (place % rows)}h8v8h-8z`;
      }
      path.setAttribute("class", `square ${kind}`);
      path.setAttribute("d", drawn);
      svg.append(path);
    }
    part("waffle").replaceChildren(svg);
  };

  const chosen = async () => {
    const { arms, levels, measure } = await all();
    const level = levels.find(({ level }) => String(level) === form.elements.level.value);
    const [a, b] = ["a", "b"].map((name) => arms.indexOf(form.elements[name].value));
    return { arms, level, measure, a, b, groups: compare(level, a, b) };
  };

  const show = async () => {
    const { arms, level, measure, a, b, groups } = await chosen();
    const n = kinds.reduce((sum, kind) => sum + groups[kind].length, 0);
    for (const name of ["a", "b"]) {
      for (const place of section.querySelectorAll(`[data-name="${name}"]`)) place.textContent = arms[name === "a" ? a : b];
    }
    for (const kind of kinds) {
      for (const place of section.querySelectorAll(`[data-n="${kind}"]`)) place.textContent = groups[kind].length;
    }
    const [gained, lost] = [groups.gained.length, groups.lost.length];
    const pair = level.pairs.find(([i, j]) => i === Math.min(a, b) && j === Math.max(a, b));
    const problems = `Of ${n.toLocaleString("en")} problems at level ${level.level}, ${arms[a]}`;
    let sentence = measure
      ? `${problems} answers ${gained} exactly right that ${arms[b]} does not, and ${lost} the other way round`
      : `${problems} gains ${gained} that ${arms[b]} gets wrong, and loses ${lost} that ${arms[b]} gets right`;
    if (a === b) sentence = "An arm compared with itself: choose another.";
    else if (!n) sentence = "No problem at this level was answered by both.";
    else {
      const stored = pair[3] && (a < b ? pair[3] : [-pair[3][0], -pair[3][2], -pair[3][1]]);
      const difference = measure ? stored?.[0] : (gained - lost) / n;
      if (difference !== undefined) sentence += `${measure ? `. Mean ${measure}` : ""}: ${points(difference)} points`;
      sentence += stored ? ` (95 % interval ${points(stored[1])} to ${points(stored[2])})` : "";
      const p = pair[2] < 0.0001 ? "< 0.0001" : `= ${pair[2].toFixed(4)}`;
      sentence += measure ? `. Exact McNemar p of the right answers ${p}.` : `. Exact McNemar p ${p}.`;
    }
    part("sentence").textContent = sentence;
    if (section.querySelector(".waffle .chart")) draw(groups, n);
    order = kinds.flatMap((kind) => groups[kind]);
    const winner = { gained: arms[a], lost: arms[b] };
    for (const kind of ["gained", "lost"]) {
      const card = section.querySelector(`[data-list="${kind}"]`);
      const items = groups[kind].map((i) => item(level, arms, a, b, i));
      const [first, rest] = card.querySelectorAll("ol");
      const folded = card.querySelector("details");
      card.querySelector("[data-meaning]").textContent = `only ${winner[kind]} is right`;
      first.replaceChildren(...items.slice(0, shown));
      rest.replaceChildren(...items.slice(shown));
      folded.hidden = items.length <= shown;
      folded.open = false;
      folded.querySelector("summary").textContent = `the other ${items.length - shown}`;
    }
  };

  /** Return the problem whose square lies below the pointer, or null. */
  const under = async (event) => {
    const svg = event.target.closest?.(".waffle .chart");
    if (!svg) return null;
    const box = svg.getBoundingClientRect();
    const { width, height } = svg.viewBox.baseVal;
    const column = Math.floor((((event.clientX - box.left) / box.width) * width) / 10);
    const row = Math.floor((((event.clientY - box.top) / box.height) * height) / 10);
    const { arms, level, a, b, groups } = await chosen();
    if (!order.length) order = kinds.flatMap((kind) => groups[kind]);
    const i = order[column * Math.round((height + 2) / 10) + row];
    return i === undefined ? null : { arms, level, a, b, i, svg };
  };

  if (data && form) {
    form.hidden = false;
    form.addEventListener("change", show);
    const hint = part("hint");
    if (hint) hint.hidden = false;
    const waffle = part("waffle");
    waffle.addEventListener("pointermove", async (event) => {
      const found = await under(event);
      if (!found) return;
      const { arms, level, a, b, i } = found;
      const said = [a, b].map((arm) => `${arms[arm]}: ${level.answers[arm][i] || "no answer"}`).join("\n");
      waffle.title = `${level.questions[i]}\n${said}\nreference: ${level.references[i]}`;
    });
    waffle.addEventListener("click", async (event) => {
      const found = await under(event);
      if (!found) return;
      const pair = [found.a, found.b].map((arm) => encodeURIComponent(found.arms[arm])).join(",");
      location.hash = `trace=${encodeURIComponent(found.level.keys[found.i])}&arms=${pair}`;
    });
  }
}
