"use strict";
// What moves on the run page: the current section in the navigation, keys, copy buttons, unfolding for print.
// The page is whole without it.
{
  const links = [...document.querySelectorAll(".contents a")];
  const sections = links.map((link) => document.getElementById(link.hash.slice(1))).filter(Boolean);
  const typing = (element) => element.closest("input, select, textarea, [contenteditable], dialog") !== null;

  // -- where the reader is ------------------------------------------------------------------------------------------
  const current = () => {
    const line = window.innerHeight * 0.3;
    const passed = sections.filter((section) => section.getBoundingClientRect().top <= line);
    const atEnd = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 2;
    return atEnd && window.scrollY > 0 ? sections.length - 1 : Math.max(0, passed.length - 1);
  };
  let marked = null;
  const mark = () => {
    const link = links[current()];
    if (link === marked) return;
    marked?.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    marked = link;
    const list = link.closest("ol"); // on a narrow page the list scrolls sideways; the page itself must not
    list.scrollLeft = link.offsetLeft - list.offsetLeft - (list.clientWidth - link.offsetWidth) / 2;
  };
  let waiting = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      mark();
    });
  };
  addEventListener("scroll", later, { passive: true });
  addEventListener("resize", later);
  mark();

  const go = (by) => {
    const place = Math.min(sections.length - 1, Math.max(0, current() + by));
    const section = sections[place];
    section.tabIndex = -1;
    section.focus({ preventScroll: true }); // the next Tab goes on from here
    section.scrollIntoView();
  };

  // -- keys ---------------------------------------------------------------------------------------------------------
  const help = document.getElementById("keys");
  const opener = document.querySelector("[data-keys]");
  opener.hidden = false;
  opener.addEventListener("click", () => help.showModal());
  const keys = {
    "]": () => go(1),
    "[": () => go(-1),
    "?": () => help.showModal(),
    t: () => document.querySelector("[data-theme-toggle]").click(),
  };
  document.addEventListener("keydown", (event) => {
    const graph = event.getModifierState("AltGraph"); // brackets need it on many keyboards
    if (event.defaultPrevented || typing(event.target) || event.metaKey) return;
    if ((event.ctrlKey || event.altKey) && !graph) return;
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // -- copy ---------------------------------------------------------------------------------------------------------
  for (const button of document.querySelectorAll("[data-copy]")) {
    const code = button.previousElementSibling;
    button.hidden = false;
    button.addEventListener("click", async () => {
      let said = "copied";
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        getSelection().selectAllChildren(code); // not allowed to: select it instead
        said = "selected";
      }
      button.textContent = said;
      setTimeout(() => (button.textContent = "copy"), 1500);
    });
  }

  // -- paper --------------------------------------------------------------------------------------------------------
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("main details:not(.long):not([open])")];
    for (const details of unfolded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of unfolded) details.open = false;
  });
}
