/* The first tab: the race. Whatever is moved, all runs are computed anew, from the first step. */

const RACE = {  // what is set when the page opens; a preset says what differs
  surface: "ravine", start: null, kappa: 100, turn: 0, noise: 0, seed: 1, steps: 300, kind: "length",
  rules: {
    SGD: {on: true, lr: 0.015},
    Momentum: {on: true, lr: 0.005},
    Adagrad: {on: true, lr: 0.6},
    RMSProp: {on: true, lr: 0.02, decay_rate: 0.9},
    Adam: {on: true, lr: 0.2},
  },
};
const KINDS = {
  length: "Length of each step / learning rate",
  second: "√ second moment: x solid, y dashed",
  rates: "Effective rate: x solid, y dashed",
  parts: "Distance: along solid, across dashed",
};

class RaceTab {
  constructor() {
    this.at = Infinity;  // the step that is shown; between two whole ones while it plays
    this.ground = make("canvas");
    this.grounds = "";  // what the ground shows
    this.build();
    this.player = new Player($("play"), "Play", seconds => {
      this.at += seconds * 24 * $("speed").value;
      if (stillness.matches) this.at = Math.ceil(this.at);
      const goesOn = this.at < this.state.steps;
      if (!goesOn) this.at = this.state.steps;
      this.draw();
      return goesOn;
    }, () => {
      this.at = Math.floor(this.at);
      if (this.runs) this.draw();
    });
    const play = $("play").onclick;
    $("play").onclick = () => {
      if (!this.player.playing && this.at >= this.state.steps) this.at = 0;
      play();
    };
    this.set({});
  }

  get surface() { return SURFACES[this.state.surface]; }

  /* Set up what `changes` says, and everything else as it is when the page opens. */
  set(changes) {
    const rules = Object.fromEntries(RULE_NAMES.map(name => [name, {
      ...RULES[name].settings, ...RACE.rules[name], ...changes.rules?.[name],
    }]));
    this.state = {...structuredClone(RACE), ...structuredClone(changes), rules};
    this.state.start ??= [...this.surface.start];
    this.at = Infinity;
    this.show();
  }

  show() {  // all controls, then the race
    this.player.toggle(false);
    for (const control of this.controls) control.show();
    for (const [key, radio] of Object.entries(this.radios)) radio.checked = key === this.state.surface;
    $("formula").textContent = `f(x, y) = ${this.surface.formula}`;
    $("story").textContent = this.surface.story;
    const sliders = this.surface.sliders ?? {};
    this.kappa.hidden = !("kappa" in sliders);
    this.turn.hidden = !("turn" in sliders);
    $("theory").hidden = !this.surface.optima.length;
    this.compute();
  }

  build() {
    const state = () => this.state, changed = () => this.compute();
    this.radios = {};
    for (const [key, surface] of Object.entries(SURFACES)) {
      const radio = make("input", {type: "radio", name: "surface"});
      radio.onchange = () => {
        Object.assign(this.state, {surface: key, start: [...surface.start]});
        this.at = Infinity;
        this.show();
      };
      this.radios[key] = radio;
      $("surfaces").append(make("label", {}, radio, make("span", {textContent: surface.title})));
    }
    this.kappa = slider({label: "condition κ", about: "condition number", stops: decades(0, 3), state, key: "kappa", changed});
    this.turn = slider({label: "turned by", stops: steady(0, 90, 5), state, key: "turn", changed, format: v => `${v}°`});
    const coordinate = (k, name) => {
      const input = make("input", {type: "number", step: "any", ariaLabel: `Start, ${name}`});
      const element = make("label", {className: "choice"}, make("span", {textContent: `start ${name}`}), input);
      element.show = () => { input.value = +this.state.start[k].toPrecision(6); };
      input.onchange = () => {
        if (Number.isFinite(input.valueAsNumber)) this.state.start[k] = input.valueAsNumber;
        this.compute();
      };
      return element;
    };
    this.coordinates = [coordinate(0, "x"), coordinate(1, "y")];
    const strip = [
      this.kappa, this.turn, ...this.coordinates,
      slider({label: "mini-batch noise", stops: [0, ...decades(-2, 0)], state, key: "noise", changed}),
      slider({label: "its seed", stops: steady(1, 20, 1), state, key: "seed", changed}),
      slider({label: "steps", stops: [50, 100, 150, 200, 300, 400, 600, 800, 1000], state, key: "steps", changed: () => {
        this.at = Infinity;
        this.compute();
      }}),
    ];
    $("surface-knobs").append(...strip);
    $("kind").append(...Object.entries(KINDS).map(([value, textContent]) => make("option", {value, textContent})));
    $("kind").onchange = () => {
      this.state.kind = $("kind").value;
      this.draw();
    };
    this.cards = Object.fromEntries(RULE_NAMES.map((name, i) => [name, this.card(name, i)]));
    $("rules").append(...RULE_NAMES.map(name => this.cards[name].element));
    this.controls = [...strip, ...RULE_NAMES.flatMap(name => this.cards[name].controls)];
    $("back").innerHTML = icon("back");
    $("on").innerHTML = icon("on");
    $("back").onclick = () => this.go(Math.ceil(this.at) - 1);
    $("on").onclick = () => this.go(Math.floor(this.at) + 1);
    $("step").oninput = () => this.go(+$("step").value);
    for (const id of ["loss", "second"]) this.scrub($(id));
    this.moveStart();
    this.moveRate();
  }

  card(name, i) {
    const state = () => this.state.rules[name], changed = () => this.compute();
    const knob = (key, label, stops) => slider({label, about: `${name}: ${label}`, stops, state, key, changed});
    const knobs = {
      lr: () => knob("lr", "learning rate", STOPS.rate), mu: () => knob("mu", "mu", STOPS.memory),
      decay_rate: () => knob("decay_rate", "decay rate", STOPS.memory),
      beta1: () => knob("beta1", "beta1", STOPS.memory), beta2: () => knob("beta2", "beta2", STOPS.memory),
      nesterov: () => tick({label: "Nesterov's form", state, key: "nesterov", changed}),
      bias_correction: () => tick({label: "bias correction", state, key: "bias_correction", changed}),
    };
    const controls = Object.keys(RULES[name].settings).filter(key => key in knobs).map(key => knobs[key]());
    const box = make("input", {type: "checkbox", ariaLabel: `${name} takes part`});
    const sample = make("canvas", {ariaHidden: "true"}), facts = make("dl");
    const element = make("section", {className: "card rule", ariaLabel: name},
      make("label", {}, box, sample, make("b", {textContent: name})),
      make("code", {textContent: RULES[name].formula}), ...controls, facts);
    box.onchange = () => {
      this.state.rules[name].on = box.checked;
      this.compute();
    };
    const whole = {show: () => {
      box.checked = this.state.rules[name].on;
    }};
    return {element, facts, sample, i, controls: [whole, ...controls]};
  }

  moveStart() {
    const handle = $("start"), map = $("map");
    const here = event => {
      const box = map.getBoundingClientRect(), [left, right, bottom, top] = this.surface.view;
      const across = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      const down = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 1);
      return [left + across * (right - left), top - down * (top - bottom)];
    };
    map.onclick = event => this.drop(...here(event));
    handle.onpointerdown = event => {
      handle.setPointerCapture(event.pointerId);
      handle.classList.add("held");
    };
    handle.onpointermove = event => {
      if (handle.hasPointerCapture(event.pointerId)) this.drop(...here(event));
    };
    handle.onpointerup = handle.onpointercancel = () => handle.classList.remove("held");
    handle.onkeydown = event => {
      const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
      if (!way) return;
      event.preventDefault();
      const by = event.shiftKey ? 0.5 : 0.05, [x, y] = this.state.start;
      this.drop(+(x + by * way[0]).toFixed(12), +(y + by * way[1]).toFixed(12));
    };
  }

  drop(x, y) {
    this.state.start = [x, y];
    for (const coordinate of this.coordinates) coordinate.show();
    this.compute();
  }

  scrub(canvas) {
    const to = event => {
      const box = canvas.getBoundingClientRect();
      const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
      this.go(share * this.state.steps);
    };
    canvas.onpointerdown = event => {
      canvas.setPointerCapture(event.pointerId);
      to(event);
    };
    canvas.onpointermove = event => {
      if (canvas.hasPointerCapture(event.pointerId)) to(event);
    };
  }

  go(step) {
    this.player.toggle(false);
    this.at = Math.min(Math.max(Math.round(step), 0), this.state.steps);
    this.draw();
  }

  compute() {
    const {state, surface} = this;
    const shifts = batches(state.steps, state.noise, state.seed);
    this.runs = {};
    for (const name of RULE_NAMES) {
      this.cards[name].element.classList.toggle("off", !state.rules[name].on);
      if (!state.rules[name].on) continue;
      this.runs[name] = descend(surface, state, name, state.rules[name], state.start, state.steps, shifts);
    }
    this.at = Math.min(this.at, state.steps);
    const text = verdict(this.runs, state.steps);
    if ($("verdict").textContent !== text) $("verdict").textContent = text;
    const [x, y] = state.start.map(shortNumber);
    $("start").ariaLabel = `Start at x ${x}, y ${y}; arrow keys move it`;
    this.draw();
  }

  draw() {
    if ($("race").hidden) return;
    const {state} = this, at = Math.floor(this.at + 1e-9);
    this.drawMap();
    const series = (values, extra = {}) => Object.keys(this.runs).map(name => ({
      values: values(this.runs[name]), color: inks[RULE_NAMES.indexOf(name)], marker: RULE_NAMES.indexOf(name), ...extra,
    }));
    const usual = {steps: state.steps, at: this.at};
    const plain = series(run => run.loss);
    for (const one of plain) one.dash = DASH[one.marker];
    chart($("loss"), plain, {...usual, goal: this.surface.goal});
    $("kind").value = state.kind;
    chart($("second"), this.secondSeries(series), {...usual, decades: 8});
    $("step").max = state.steps;
    $("step").value = at;
    $("step").ariaValueText = `${at} of ${state.steps}`;
    $("count").textContent = `${at} / ${state.steps}`;
    for (const name of RULE_NAMES) this.drawFacts(name, at);
    this.drawRates();
    const names = Object.keys(this.runs).join(", ") || "no rule";
    $("map").ariaLabel = `${this.surface.title}: contours with the paths of ${names}, up to step ${at}`;
    $("loss").ariaLabel = `Loss of ${names} against the step, on a logarithmic scale`;
    $("second").ariaLabel = `${KINDS[state.kind]}, of ${names}, against the step`;
  }

  secondSeries(series) {
    if (this.state.kind === "length") return series(run => run.length, {from: 1});
    const parts = {
      second: (run, k) => run.second.map(s => (s ? Math.sqrt(s[k]) : NaN)),
      rates: (run, k) => run.rates.map(r => r[k]),
      parts: (run, k) => {
        const [c, s] = ravineAxes(this.surface.sliders ? this.state : {turn: 0});
        const [ox, oy] = this.surface.optima[0] ?? [0, 0];
        return run.x.map((x, t) => Math.abs(k ? c * (run.y[t] - oy) - s * (x - ox) : c * (x - ox) + s * (run.y[t] - oy)));
      },
    }[this.state.kind];
    const from = this.state.kind === "parts" ? 0 : 1;
    const both = [0, 1].flatMap(k => series(run => parts(run, k), {from, dash: k ? [5, 4] : []}));
    return both.filter(one => one.values.some(Number.isFinite));
  }

  drawMap() {
    const {state, surface} = this, map = $("map"), pen = fit(map);
    const wide = map.clientWidth, high = map.clientHeight, [left, right, bottom, top] = surface.view;
    const time = surface.center ? surface.center(Math.floor(this.at)) : 0;
    const wanted = [state.surface, state.kappa, state.turn, time, map.width, map.height, css("low")].join();
    if (this.grounds !== wanted) {
      this.drawGround(map.width, map.height, time === 2 ? JUMP_EVERY : 0);
      this.grounds = wanted;
    }
    pen.save();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(this.ground, 0, 0);
    pen.restore();
    const unit = wide / (right - left), X = x => (x - left) * unit, Y = y => high - (y - bottom) * unit;
    this.drawTicks(pen, wide, high, X, Y);

    const active = Object.keys(this.runs).map(name => [this.runs[name], RULE_NAMES.indexOf(name)]);
    const heads = [];
    for (const [run, i] of active) {
      const end = Math.min(Math.floor(this.at + 1e-9), run.steps), share = Math.min(this.at, run.steps) - end;
      const next = Math.min(end + 1, run.steps);
      const x = X(run.x[end] + (run.x[next] - run.x[end]) * share);
      const y = Y(run.y[end] + (run.y[next] - run.y[end]) * share);
      this.drawPath(pen, run, i, end, X, Y, x, y);
      const inX = Math.min(Math.max(x, 10), wide - 10), inY = Math.min(Math.max(y, 10), high - 10);
      heads.push({i, x: inX, y: inY, out: Math.abs(inX - x) > 10 || Math.abs(inY - y) > 10});
    }
    if (surface.saddle) word(pen, "saddle", X(surface.saddle[0]), Y(surface.saddle[1]) + 22);
    for (const [x, y] of surface.optima) cross(pen, X(x), Y(y));
    if (surface.center) cross(pen, X(time), Y(0));
    markers(pen, heads);
    const handle = $("start").style;
    handle.left = `${100 * Math.min(Math.max(X(state.start[0]) / wide, 0), 1)}%`;
    handle.top = `${100 * Math.min(Math.max(Y(state.start[1]) / high, 0), 1)}%`;
  }

  drawPath(pen, run, i, end, X, Y, lastX, lastY) {  // with a seam that parts it from the others
    pen.lineJoin = "round";
    pen.setLineDash(DASH[i]);
    pen.beginPath();
    for (let k = 0; k <= end; k++) pen.lineTo(X(run.x[k]), Y(run.y[k]));
    pen.lineTo(lastX, lastY);
    for (const [color, width, alpha] of [[css("low"), 4, 0.7], [inks[i], 2, 1]]) {
      pen.globalAlpha = alpha;
      pen.lineWidth = width;
      pen.strokeStyle = color;
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.fillStyle = inks[i];
    for (let k = 1, x0 = X(run.x[0]), y0 = Y(run.y[0]); k <= end; k++) {  // the steps, where large
      const x = X(run.x[k]), y = Y(run.y[k]);
      if (Math.hypot(x - x0, y - y0) < 5) continue;
      pen.beginPath();
      pen.arc(x, y, 2.8, 0, 7);
      pen.fill();
      [x0, y0] = [x, y];
    }
  }

  drawTicks(pen, wide, high, X, Y) {
    const [left, right, bottom, top] = this.surface.view, every = right - left > 9 ? 2 : 1;
    for (let v = Math.ceil(left); v < right; v++) {
      if (v % every === 0 && X(v) > 40 && X(v) < wide - 22) word(pen, v, X(v), high - 6, "center", css("soft"));
    }
    for (let v = Math.ceil(bottom); v < top; v++) {
      if (v % every === 0 && Y(v) > 24 && Y(v) < high - 22) word(pen, v, 6, Y(v) + 4, "left", css("soft"));
    }
    word(pen, "x", wide - 6, high - 6, "right", css("soft"));
    word(pen, "y", 6, 14, "left", css("soft"));
  }

  drawGround(width, height, t) {  // the surface with its contours, on a canvas that is kept
    const across = 129, down = 97, [left, right, bottom, top] = this.surface.view;
    const loss = new Float64Array(across * down);
    for (let row = 0; row < down; row++) for (let column = 0; column < across; column++) {
      const x = left + (right - left) * column / (across - 1), y = top - (top - bottom) * row / (down - 1);
      loss[row * across + column] = this.surface.loss(x, y, this.state, t);
    }
    // The logarithm keeps contours apart both on the cliffs and, with one added, on the ground.
    const low = this.surface.optima.length || this.surface.center ? [...loss].sort((a, b) => a - b)[Math.floor(0.15 * loss.length)] : 1e9;
    const heights = loss.map(v => Math.log1p(v / low)), highest = Math.max(...heights);
    heights.forEach((h, k) => { heights[k] = h / highest; });
    Object.assign(this.ground, {width, height});
    const pen = this.ground.getContext("2d"), wide = width / (across - 1);
    pen.imageSmoothingQuality = "high";
    pen.setTransform(wide, 0, 0, height / (down - 1), 0, 0);
    pen.drawImage(paint(make("canvas"), across, down, k => pixel(mix(colors.low, colors.high, heights[k]))), -0.5, -0.5);
    pen.strokeStyle = css("contour");
    contours(heights, across, down, 18).forEach((path, n) => {
      pen.lineWidth = (n % 4 ? 0.6 : 1.1) * (window.devicePixelRatio || 1) / wide;
      pen.stroke(path);
    });
  }

  drawFacts(name, at) {  // loss, outcome and the second moment, of one rule, at the step shown
    const {facts} = this.cards[name], run = this.runs[name];
    if (!run) {
      facts.replaceChildren();
      return;
    }
    const k = Math.min(at, run.steps), {second} = RULES[name], rows = [];
    const pair = (label, [x, y]) => rows.push(make("dt", {textContent: label}),
      make("dd", {textContent: shortNumber(x)}), make("dd", {textContent: shortNumber(y)}));
    const one = (label, text) => rows.push(make("dt", {textContent: label}), make("dd", {className: "both", textContent: text}));
    one("loss", `${shortNumber(run.loss[k])}${run.diverged !== null && at >= run.diverged ? ", diverged" : ""}`);
    pair("at x, y", [run.x[k], run.y[k]]);
    if (second && k) pair(`${second} x, y`, run.second[k - 1]);
    if (k) pair("lr for x, y", run.rates[k - 1]);
    one("turns by", `${run.turn.toFixed(0)}° a step`);
    facts.replaceChildren(...rows);
  }

  look() {  // with the colors and the size of the window as they are now
    for (const {sample, i} of Object.values(this.cards)) {
      const pen = fit(sample);
      pen.clearRect(0, 0, 22, 22);
      marker(pen, i, 11, 11);
    }
    this.draw();
  }
}
