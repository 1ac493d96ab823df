const still = {displayModeBar: false, responsive: true};

// The page's own colours, so that the charts follow light and dark.
function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim(), line = style.getPropertyValue("--line").trim();
  const ground = style.getPropertyValue("--ground").trim();
  const copy = structuredClone(layout);
  copy.paper_bgcolor = copy.plot_bgcolor = "rgba(0,0,0,0)";
  copy.font = {family: getComputedStyle(document.body).fontFamily, size: 12, color: ink};
  copy.hoverlabel = {bgcolor: ground, bordercolor: line, font: {color: ink}};
  copy.showlegend = false;  // see keys
  copy.dragmode = false;  // on a phone a drag scrolls the page
  for (const name of Object.keys(copy).filter((key) => /^[xy]axis/.test(key))) {
    copy[name].gridcolor = copy[name].zerolinecolor = line;
  }
  return copy;
}

// The legend as text of the page: it wraps on a phone, where a legend inside the chart would leave no room for it.
function keys(traces) {
  const line = document.createElement("p");
  line.className = "legend";
  const named = traces.filter((trace) => trace.name && trace.showlegend !== false);
  for (const trace of named.sort((a, b) => (a.legendrank ?? 1000) - (b.legendrank ?? 1000))) {
    const key = document.createElement("span");
    key.innerHTML = `<i style="background: ${trace.line?.color ?? trace.marker.color}"></i>${trace.name}`;  // escaped already
    line.append(key);
  }
  return line;
}

function show(name, traces, layout) {
  const place = document.getElementById(name);
  if (place.previousElementSibling?.matches(".legend")) place.previousElementSibling.remove();
  if (layout.showlegend) place.before(keys(traces));
  const fixed = document.body.matches(".paper") ? {width: place.clientWidth} : {};  // a sheet does not wait for a resize
  Plotly.react(place, traces, {...themed(layout), ...fixed}, still);
}

const redraws = [() => {
  for (const [name, chart] of Object.entries(charts)) {
    const behind = backdrops[name.split("-")[0]] ?? [];  // of small panels side by side: wealth-0, wealth-1
    show(name, [...behind, ...chart.data], chart.layout);
  }
}];

function draw() {
  for (const redraw of redraws) redraw();
}

const names = {"": "as the system", light: "light", dark: "dark"};
const toggle = document.getElementById("theme");
toggle.addEventListener("click", () => {
  setTheme(themes[(themes.indexOf(theme()) + 1) % themes.length]);
  toggle.setAttribute("aria-label", `Colours: ${names[theme()]}`);
  draw();
});
toggle.setAttribute("aria-label", `Colours: ${names[theme()]}`);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

// Paper is white, and narrower than a screen: while a page is printed, charts are drawn for it.
let chosen = "";
function paper(begins) {
  if (begins) chosen = theme();
  setTheme(begins ? "light" : chosen);
  document.body.classList.toggle("paper", begins);
  draw();
}
window.addEventListener("beforeprint", () => paper(true));
window.addEventListener("afterprint", () => paper(false));
draw();
