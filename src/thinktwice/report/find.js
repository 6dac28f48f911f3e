// Marks a searched text where it stands, over the borders of tokens, without touching the page (CSS highlights).
function mark(places, wanted) {
  if (!window.Highlight) return; // an older browser finds the trace and marks nothing
  const ranges = wanted ? places.flatMap((place) => whereIs(place, wanted.toLowerCase())) : [];
  const highlight = new Highlight(...ranges.slice(0, 2000));
  highlight.priority = 9; // above what an episode marks
  CSS.highlights.set("tw-found", highlight);
}

// Where a text stands in a place, as ranges; `words`: not as a part of longer words.
function whereIs(place, wanted, words = false) {
  const nodes = [];
  const starts = [];
  let text = "";
  const walk = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    if (walk.currentNode.parentElement.closest("button, .tw-label, .tw-end")) continue;
    nodes.push(walk.currentNode);
    starts.push(text.length);
    text += walk.currentNode.data.toLowerCase();
  }
  if (text.length !== nodes.reduce((sum, node) => sum + node.data.length, 0)) return []; // a case changed a length
  const point = (at) => {
    let i = starts.findLastIndex((start) => start <= at);
    while (nodes[i].data.length === 0 && i > 0) i -= 1;
    return [nodes[i], at - starts[i]];
  };
  const ranges = [];
  const letter = (character) => /[\p{L}\p{N}]/u.test(character ?? "");
  const inside = (at) => letter(text[at]) && letter(text[at - 1]); // a word goes on over this place
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
    if (words && (inside(at) || inside(at + wanted.length))) continue;
    const range = document.createRange();
    range.setStart(...point(at));
    const [last, offset] = point(at + wanted.length - 1);
    range.setEnd(last, offset + 1);
    ranges.push(range);
  }
  return ranges;
}
