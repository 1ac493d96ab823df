// One asset of one match over the steps, and the seats at the step of the slider.
const holders = ["#e08a2b", "#2f9e8f", "#c0504d", "#8b6fc4"], quiet = "#8b919b", blue = "#3f7fd9", pink = "#d6569b";
const control = Object.fromEntries(["asset", "agent", "step", "at", "table"].map((id) => [id, document.getElementById(`replay-${id}`)]));
const shares = new Intl.NumberFormat("en", {maximumFractionDigits: 0, signDisplay: "exceptZero"});
const price = new Intl.NumberFormat("en", {maximumSignificantDigits: 6});
const part = new Intl.NumberFormat("en", {maximumFractionDigits: 0, signDisplay: "negative"});
const signed = (text) => text.replaceAll("-", "\u2212");
const escaped = (name) => name.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function line(name, y, axis, color, width) {
  return {type: "scatter", mode: "lines", name: escaped(name), x: match.step, y, yaxis: axis, line: {color, width}, hoverinfo: "name+y", showlegend: axis === "y3"};
}

function replayTraces(asset, chosen) {
  const reach = asset.position.map((row) => Math.max(...row.map(Math.abs)));
  const order = reach.map((_, seat) => seat).sort((a, b) => reach[b] - reach[a]);
  const colors = new Map(order.filter((seat) => seat !== chosen).slice(0, holders.length).map((seat, place) => [seat, holders[place]]));
  colors.set(chosen, pink);
  const traces = [
    line("reference price", asset.ref_price, "y3", quiet, 2.5),
    line("displayed price", asset.mid, "y3", blue, 1.2),
    {...line("displacement", asset.displacement.map((d) => d * 1e4), "y2", blue, 1.5), fill: "tozeroy", fillcolor: "rgba(63, 127, 217, 0.2)"},
  ];
  for (const seat of [...order.filter((seat) => seat !== chosen).reverse(), chosen]) {
    const trace = line(match.agents[seat], asset.position[seat], "y", colors.get(seat) ?? quiet, colors.has(seat) ? 1.8 : 0.7);
    traces.push({...trace, showlegend: colors.has(seat), hoverinfo: colors.has(seat) ? "name+y" : "skip"});
  }
  const fills = asset.shares[chosen];
  for (const [side, symbol] of [[1, "triangle-up"], [-1, "triangle-down"]]) {
    const at = match.step.map((_, index) => index).filter((index) => Math.sign(fills[index]) === side);
    traces.push({
      type: "scatter", mode: "markers", yaxis: "y3", name: side > 0 ? "bought ▲" : "sold ▼", x: at.map((i) => match.step[i]), y: at.map((i) => asset.mid[i]),
      text: at.map((i) => shares.format(fills[i])), hoverinfo: "text", marker: {symbol, color: pink, size: 8}, showlegend: true,
    });
  }
  return traces;
}

function replayLayout(step) {
  const axis = (title, domain) => ({title: {text: title, font: {size: 12}}, domain, nticks: 5, zeroline: title !== "price"});
  return {
    height: 540, margin: {l: 66, r: 8, t: 8, b: 42}, showlegend: true, hovermode: "x",
    xaxis: {anchor: "y", title: {text: "step", font: {size: 12}}, zeroline: false},
    yaxis: axis("position<br>[shares]", [0, 0.36]), yaxis2: axis("displaced<br>[bps]", [0.41, 0.58]), yaxis3: axis("price", [0.63, 1]),
    shapes: [{type: "line", x0: step, x1: step, yref: "paper", y0: 0, y1: 1, line: {color: quiet, width: 1, dash: "dot"}}],
  };
}

function replayRows(asset, index) {
  const rows = match.agents.map((agent, seat) => {
    const row = document.createElement("tr");
    const values = [[shares, asset.shares[seat][index]], [shares, asset.position[seat][index]], [part, 100 * asset.pushed[seat]]];
    const head = document.createElement("th");
    head.scope = "row";
    head.dataset.value = agent;
    head.append(...agent.split("_").flatMap((part, place) => place ? ["_", document.createElement("wbr"), part] : [part]));
    row.append(head, ...values.map(([form, value]) => {
      const cell = document.createElement("td");
      cell.dataset.value = value;
      cell.textContent = signed(form.format(value));
      return cell;
    }));
    return row;
  });
  control.table.parts = undefined;
  for (const head of control.table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
  control.table.tBodies[0].replaceChildren(...rows);
}

function replayStep() {
  const asset = match.assets[control.asset.value], index = Number(control.step.value);
  const moved = (asset.displacement[index] * 1e4).toFixed(1);
  control.at.value = signed(`${match.step[index]}: ${price.format(asset.ref_price[index])} displaced ${moved} bps, net flow ${shares.format(asset.net_flow[index])}`);
  control.step.setAttribute("aria-valuetext", control.at.value);
  replayRows(asset, index);
  return [asset, match.step[index]];
}

function drawReplay() {
  const [asset, step] = replayStep();
  show("replay", replayTraces(asset, Number(control.agent.value)), replayLayout(step));
}

// Begin with who moved the first asset most, in the middle of the match.
const pushed = match.assets[0].pushed;
control.agent.value = pushed.indexOf(Math.max(...pushed));
control.step.value = Math.floor(match.step.length / 2);
control.asset.addEventListener("change", drawReplay);
control.agent.addEventListener("change", drawReplay);
control.step.addEventListener("input", () => {
  const [, step] = replayStep();
  Plotly.relayout("replay", {"shapes[0].x0": step, "shapes[0].x1": step});
});
redraws.push(drawReplay);
drawReplay();
