const long = 40;  // rows; of a longer table the first are shown, and a field finds the others

// Sorts by a column; the first column again restores the order of the page, tiers included.
function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const before = heads[column].getAttribute("aria-sort");
  const down = before ? before === "ascending" : column > 0;  // of numbers the largest first
  table.parts ??= [...table.tBodies].map((body) => [body, [...body.rows]]);
  for (const head of heads) head.removeAttribute("aria-sort");
  for (const [body, rows] of table.parts) body.append(...rows);
  if (before && (column > 0 ? before === "ascending" : before === "descending")) return;
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = entries(table);
  const key = (row) => row.cells[column].dataset.value;
  const order = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
  rows.sort((one, other) => {
    const a = key(one), b = key(other);
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);  // unknown last
    return down ? -order(a, b) : order(a, b);
  });
  for (const head of table.querySelectorAll(".tier-head")) head.remove();
  table.tBodies[0].append(...rows);
}

function entries(table) {
  return [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.matches(".tier-head"));
}

// A field above a long table: rows that hold the words, or the first ones until all are asked for.
function finder(table) {
  const line = document.createElement("p");
  line.className = "controls finder";
  line.innerHTML = '<label>Find <input type="search"></label> <button type="button" aria-pressed="false">Show all</button> <output></output>';
  const [words, all, said] = line.querySelectorAll("input, button, output");
  words.setAttribute("aria-label", `Find in: ${table.caption.textContent}`);
  table.find = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean), whole = all.ariaPressed === "true";
    let num = 0;
    const rows = entries(table);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = wanted.length ? !wanted.every((word) => text.includes(word)) : !whole && num >= long;
      num += !row.hidden;
    }
    for (const head of table.querySelectorAll(".tier-head")) {
      head.hidden = [...head.parentElement.rows].every((row) => row === head || row.hidden);
    }
    said.value = `${num.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  };
  words.addEventListener("input", table.find);
  all.addEventListener("click", () => {
    all.ariaPressed = String(all.ariaPressed !== "true");
    all.textContent = all.ariaPressed === "true" ? `Show the first ${long}` : "Show all";
    table.find();
  });
  table.closest(".scroll").before(line);
  table.find();
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      sortBy(table, column);
      table.find?.();
    });
  });
  if (entries(table).length > long) finder(table);
}
