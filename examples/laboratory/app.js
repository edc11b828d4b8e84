/* The page as a whole: tabs, claims, colors. */

readColors();
const raceTab = new RaceTab();
const networkTab = new NetworkTab();
const TABS = {race: raceTab, network: networkTab};

function openTab(name) {
  for (const [key, tab] of Object.entries(TABS)) {
    $(key).hidden = key !== name;
    $(`tab-${key}`).ariaSelected = String(key === name);
    $(`tab-${key}`).tabIndex = key === name ? 0 : -1;
    if (key !== name) tab.player.toggle(false);
  }
  TABS[name].look();
  showChosen();
}

/* Where a row of choices is wider than the page, let it show the one that is chosen. */
function showChosen() {
  for (const [row, chosen] of [
    ["claims", '[aria-pressed="true"]'],
    ["surfaces", "label:has(:checked)"],
  ]) {
    const [outer, inner] = [$(row), $(row).querySelector(chosen)].map(e =>
      e?.getBoundingClientRect(),
    );
    if (inner) $(row).scrollLeft += inner.left + inner.width / 2 - outer.left - outer.width / 2;
  }
}

/* Set up a claim; null takes its note away. */
function openClaim(key) {
  for (const button of $("claims").children)
    button.ariaPressed = String(button.dataset.claim === key);
  $("note").hidden = !key;
  if (!key) return;
  const {claim, verdict: said, look, race, network} = PRESETS[key];
  $("note").replaceChildren(
    make(
      "p",
      {},
      make("b", {textContent: `${key}. ${claim}`}),
      make("span", {className: "badge", textContent: said}),
    ),
    make("p", {textContent: look}),
  );
  if (race) raceTab.set(race);
  else networkTab.set(network);
  openTab(race ? "race" : "network");
}

for (const name of Object.keys(TABS)) $(`tab-${name}`).onclick = () => openTab(name);
$("tabs").onkeydown = event => {
  if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  const other = $("race").hidden ? "race" : "network";
  openTab(other);
  $(`tab-${other}`).focus();
};
for (const [key, {short}] of Object.entries(PRESETS)) {
  const button = make(
    "button",
    {type: "button", ariaPressed: "false"},
    make("b", {textContent: key}),
    ` ${short}`,
  );
  button.dataset.claim = key;
  button.onclick = () => {
    openClaim(key);
    history.replaceState(null, "", `#${key}`);
  };
  $("claims").append(button);
}

const THEMES = {"": "Colors: auto", dark: "Colors: dark", light: "Colors: light"};
$("theme").onclick = () => {
  const names = Object.keys(THEMES);
  const root = document.documentElement;
  const next = names[(names.indexOf(root.dataset.theme ?? "") + 1) % names.length];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  refresh();
};

function refresh() {
  // with the colors and the size of the window as they are now
  readColors();
  $("theme").textContent = THEMES[document.documentElement.dataset.theme ?? ""];
  for (const [name, tab] of Object.entries(TABS)) if (!$(name).hidden) tab.look();
}

/* The address holds what is shown: #C9 a claim, #network a tab, #race={...} whatever was set. */
function openHash() {
  const [key, text] = location.hash.slice(1).split("=");
  openClaim(key in PRESETS ? key : null);
  if (key in PRESETS) return;
  const tab = key in TABS ? key : "race";
  try {
    if (text) TABS[tab].set(JSON.parse(decodeURIComponent(text)));
  } catch (error) {
    TABS[tab].set({}); // no set-up of this page: what is set when it opens
  }
  openTab(tab);
}

$("link").onclick = async () => {
  const tab = $("race").hidden ? "network" : "race";
  history.replaceState(null, "", `#${tab}=${encodeURIComponent(JSON.stringify(TABS[tab].state))}`);
  try {
    await navigator.clipboard.writeText(location.href);
    $("link").textContent = "Copied";
  } catch (error) {
    $("link").textContent = "See address"; // where the clipboard is not to be had
  }
  setTimeout(() => {
    $("link").textContent = "Link";
  }, 2000);
};

document.addEventListener("keydown", event => {
  // space plays and pauses where it does nothing else
  if (event.key !== " " || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest?.("button, select, input, canvas[tabindex]")) return;
  event.preventDefault();
  $($("race").hidden ? "train" : "play").click();
});
openHash();
addEventListener("hashchange", openHash);
darkness.addEventListener("change", refresh);
new ResizeObserver(refresh).observe(document.body);
