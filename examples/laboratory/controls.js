/* Elements of the page, and the controls: each shows a value of the state, and changes it. */

const $ = id => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const ICONS = {
  play: "M2 0 14 7 2 14z",
  pause: "M1 0h4v14H1zM9 0h4v14H9z",
  back: "M2 0h3v14H2zM14 0 6 7l8 7z",
  on: "M9 0h3v14H9zM0 0l8 7-8 7z",
};
const icon = name => `<svg viewBox="0 0 14 14" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;

/* Values that a slider stops at. */
function decades(from, to, mantissas = [1, 1.5, 2, 3, 5, 7]) {
  const stops = [];
  for (let e = from; e < to; e++) for (const m of mantissas) stops.push(+`${m}e${e}`);
  return [...stops, +`1e${to}`];
}
const STOPS = {
  rate: decades(-5, 1, [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8]),
  memory: [
    0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.993,
    0.995, 0.998, 0.999, 0.9995, 0.9999,
  ],
};
function steady(from, to, by) {
  return Array.from(
    {length: Math.round((to - from) / by) + 1},
    (_, i) => +(from + i * by).toFixed(6),
  );
}

/* A slider over `stops`. A value in between, of a preset, is shown as it is. `state` is a function,
   so that the slider follows when the state as a whole is exchanged. */
function slider({
  label,
  about = label,
  stops,
  state,
  key,
  changed,
  format = v => String(+v.toPrecision(4)),
}) {
  const input = make("input", {type: "range", min: 0, max: stops.length - 1, step: 1});
  const output = make("output");
  const element = make(
    "label",
    {className: "knob"},
    make("span", {textContent: label}),
    output,
    input,
  );
  element.show = () => {
    const value = state()[key];
    const off = stop => Math.abs(stop - value);
    input.value = stops.reduce((best, stop, i) => (off(stop) < off(stops[best]) ? i : best), 0);
    output.textContent = format(value);
    input.ariaLabel = about;
    input.ariaValueText = format(value);
  };
  input.oninput = () => {
    state()[key] = stops[+input.value];
    element.show();
    changed();
  };
  return element;
}

function tick({label, about = label, state, key, changed}) {
  const input = make("input", {type: "checkbox", ariaLabel: about});
  const element = make("label", {className: "tick"}, input, make("span", {textContent: label}));
  element.show = () => {
    input.checked = state()[key];
  };
  input.onchange = () => {
    state()[key] = input.checked;
    changed();
  };
  return element;
}

function choice({label, options, state, key, changed}) {
  // options: {value: words}
  const select = make(
    "select",
    {ariaLabel: label},
    ...Object.entries(options).map(([value, words]) => make("option", {value, textContent: words})),
  );
  const element = make("label", {className: "choice"}, make("span", {textContent: label}), select);
  element.show = () => {
    select.value = state()[key];
  };
  select.onchange = () => {
    state()[key] = select.value;
    changed();
  };
  return element;
}

/* Something that goes on until it is paused; who wants little motion gets two pictures a second. */
class Player {
  /* frame(seconds since the last one) says whether it goes on; stopped() is called in the end. */
  constructor(button, word, frame, stopped) {
    Object.assign(this, {button, word, frame, stopped, playing: false});
    button.onclick = () => this.toggle();
    this.label();
  }

  label() {
    this.button.innerHTML = this.playing ? `${icon("pause")}Pause` : `${icon("play")}${this.word}`;
  }

  toggle(on = !this.playing) {
    if (on === this.playing) return;
    this.playing = on;
    this.label();
    if (!on) {
      this.stopped();
      return;
    }
    let before = performance.now();
    const next = time => {
      if (!this.playing) return;
      const seconds = Math.max(0, time - before) / 1000;
      if (!stillness.matches || seconds >= 0.5) {
        before = time;
        if (!this.frame(Math.min(seconds, 0.5))) this.toggle(false);
      }
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }
}
