"use strict";
// The page is complete without this: it adds sorting to tables and a button for the theme.

const theme = document.getElementById("theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// What a row is sorted by: a number, a text, or undefined where it has neither. Rows with a message have few cells.
function key(row, column, numeric) {
  const cell = row.cells[column];
  if (!cell || (column > 0 && cell.colSpan > 1)) return undefined;
  const text = numeric ? cell.dataset.value : cell.textContent;
  return text ? (numeric ? Number(text) : text) : undefined;
}

function sort(table, heads, column) {
  const head = heads[column];
  const numeric = head.dataset.sort === "number";
  const before = head.getAttribute("aria-sort");
  const down = before ? before === "ascending" : "down" in head.dataset;
  for (const each of heads) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => [key(row, column, numeric), row]);
  const order = numeric ? (a, b) => a - b : (a, b) => a.localeCompare(b, undefined, { numeric: true });
  rows.sort(([a], [b]) => {
    // Whoever has nothing to compare comes last, whichever way the others go.
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return down ? order(b, a) : order(a, b);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.data")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, heads, column));
  });
}
