/* Keys: / finds, j and k go from row to row, ? tells of them. None while somebody writes, or holds a modifier. */
"use strict";

(() => {
  const help = document.getElementById("pm-keys");

  function rows() {
    return [...document.querySelectorAll("a[data-row]")].filter((row) => row.getClientRects().length);
  }

  function step(by) {
    const found = rows();
    if (!found.length) return;
    const at = found.indexOf(document.activeElement);
    found[Math.min(found.length - 1, Math.max(0, at < 0 && by < 0 ? found.length - 1 : at + by))].focus();
  }

  function find() {
    const field = document.querySelector("input[type=search]");
    field?.focus();
    field?.select();
    return field;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input, select, textarea, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "/" && find()) event.preventDefault();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "?" && help) help.open ? help.close() : help.showModal();
  });
})();
