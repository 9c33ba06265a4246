"use strict";
// Two things that the page does without when scripts are off: tables that can be sorted, and a slider through the maps.

// the number a cell begins with; what has none ("no answer") comes last either way
function numberIn(text) {
  const found = text.replace(/,(?=\d{3})/g, "").replace("\u2212", "-").match(/^[-+]?\d*\.?\d+/);
  return found ? Number(found[0]) : null;
}

function valueOf(row, place) {
  const shown = row.cells[place].querySelector(".value");
  return (shown || row.cells[place]).textContent.trim();
}

function sortBy(table, place, down) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows).map((row) => ({ row, text: valueOf(row, place) }));
  const isNumeric = table.tHead.rows[0].cells[place].classList.contains("number");
  for (const one of rows) one.key = isNumeric ? numberIn(one.text) : one.text.toLowerCase();
  rows.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
    const order = isNumeric ? a.key - b.key : a.key.localeCompare(b.key, undefined, { numeric: true });
    return down ? -order : order;
  });
  for (const one of rows) body.append(one.row);
}

for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    const words = head.querySelector(".head");
    words.replaceWith(button);
    button.append(words);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sortBy(table, head.cellIndex, down);
    });
  }
}

// The slider fades from one picture of a row to the next: radiograph, teacher's map, students' maps. It stands in the
// place of the row's first picture, on which it starts.
for (const row of document.querySelectorAll(".panels[data-fades]")) {
  const panels = Array.from(row.querySelectorAll("figure"));
  if (panels.length < 2) continue;
  const names = panels.map((panel) => panel.querySelector("strong").textContent);
  const figure = document.createElement("figure");
  const stack = panels[0].querySelector("svg").cloneNode(true);
  const layers = panels.map((panel, place) => {
    if (!place) return stack.querySelector("image");
    const layer = panel.querySelector("image").cloneNode();
    stack.insertBefore(layer, stack.querySelector("path"));
    return layer;
  });
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, max: panels.length - 1, step: 0.05, value: 0 });
  slider.setAttribute("aria-label", "Fade from the radiograph through the maps: " + row.dataset.fades);
  const told = document.createElement("figcaption");
  const show = () => {
    const at = Number(slider.value);
    layers.forEach((layer, place) => { layer.style.opacity = place ? Math.min(1, Math.max(0, at - place + 1)) : 1; });
    const near = names[Math.round(at)];
    stack.setAttribute("aria-label", near + ", " + row.dataset.fades);
    slider.setAttribute("aria-valuetext", near);
    told.textContent = near;
  };
  slider.addEventListener("input", show);
  figure.className = "slider";
  figure.append(stack, slider, told);
  row.prepend(figure);
  row.classList.add("faded");
  show();
}
