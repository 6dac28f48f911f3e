// What is looked at, as an address and as a choice of problems. Law: a view is a link, and the link is the view.
//
//   #trace=<key>&arms=<a>,<b>&step=<n>   one problem, those arms, the replay right after step n of the first arm
//   level= outcome= failure= mark= back=1 text= sort=   the filters;   colour=1 fold=1   how tokens look
const DEFAULTS = {
  trace: "", arms: "", step: "",
  level: "", outcome: "", failure: "", mark: "", back: "", text: "", sort: "",
  colour: "", fold: "",
};

function readAddress(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  return [...given.keys()].some((name) => Object.hasOwn(DEFAULTS, name))
    ? Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, given.get(name) ?? ""]))
    : null; // another place of the page
}

function writeAddress(view) {
  const filled = Object.entries(view).filter(([, value]) => value !== "");
  return "#" + filled.map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%2C", ",")}`).join("&");
}

// Does a problem pass? a and b are the arms' columns (b may be missing); matches: of a text search, or null; failure and
// marks: numbers, or null.
function passes(number, view, store, a, b, matches, failure, marks) {
  if (a.right[number] === "-") return false;
  if (view.level !== "" && String(store.levels[number]) !== view.level) return false;
  if (view.back && !a.back[number]) return false;
  if (failure !== null && a.failure[number] !== failure) return false;
  if (marks && !a.marks?.[number].some((mark) => marks.includes(mark))) return false;
  if (view.outcome && !OUTCOMES[view.outcome]?.test(a.right[number], b?.right[number])) return false;
  if (!matches) return true;
  const found = matches.get(number);
  return Boolean(found && (found.question || [a, b].some((arm) => found.arms[store.arms.indexOf(arm)])));
}

const OUTCOMES = {
  right: { label: "right", test: (a) => a === "1" },
  partly: { label: "partly right", graded: true, test: (a) => a === "p" },
  wrong: { label: "wrong", test: (a) => a === "0" },
  unscored: { label: "unscored", test: (a) => a === "u" },
  gained: { label: "gained: only A right", pair: true, test: (a, b) => a === "1" && b !== "1" && b !== "-" },
  lost: { label: "lost: only B right", pair: true, test: (a, b) => a !== "1" && b === "1" },
  same: { label: "same for both", pair: true, test: (a, b) => b !== "-" && (a === "1") === (b === "1") },
};

const SORTS = {
  "": { label: "as in the run", of: () => 0 },
  level: { label: "hardest first", of: (number, store) => -store.levels[number] },
  back: { label: "most taken back", of: (number, store, a) => -a.back[number] },
  turns: { label: "most turns", turns: true, of: (number, store, a) => -(a.turns?.[number].length ?? 0) },
  tokens: { label: "most tokens", of: (number, store, a) => -a.tokens[number] },
  doubt: { label: "least probable token", of: (number, store, a) => -a.nats[number] },
};
