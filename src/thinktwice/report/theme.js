"use strict";
// Light, dark, or as the system says. Runs in <head>, before the first paint; remembered where the browser allows it
// (a page opened from disk may not store anything). Any <button data-theme-toggle> goes round the three.
{
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const signs = { auto: "◐", light: "☀", dark: "☾" };
  const name = "thinktwice-theme";
  let theme = "auto";
  try {
    theme = localStorage.getItem(name) ?? "auto";
  } catch {
    // not remembered: as the system says
  }
  if (!themes.includes(theme)) theme = "auto";

  const apply = () => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
      const sign = document.createElement("span");
      sign.setAttribute("aria-hidden", "true");
      sign.textContent = signs[theme];
      button.replaceChildren(sign, ` ${theme}`);
      button.setAttribute("aria-label", `Theme: ${theme}`);
      button.title = "Theme: as the system, light or dark (t)";
    }
  };

  const turn = () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try {
      localStorage.setItem(name, theme);
    } catch {
      // not remembered
    }
    apply();
  };

  root.classList.add("js");
  apply();
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    for (const button of document.querySelectorAll("[data-theme-toggle]")) button.addEventListener("click", turn);
  });
}
