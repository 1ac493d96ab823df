// "" follows the system. The choice goes with the address, so that a link can show one theme: report.html#dark
const themes = ["", "light", "dark"];

function theme() {
  return document.documentElement.dataset.theme || "";
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}

setTheme(themes.includes(location.hash.slice(1)) ? location.hash.slice(1) : "");
