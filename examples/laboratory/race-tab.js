/* The first tab: the race. Whatever is moved, all runs are computed anew, from the first step. */

const RACE = {
  // what is set when the page opens; a preset says what differs
  surface: "ravine",
  start: null,
  kappa: 100,
  turn: 0,
  noise: 0,
  seed: 1,
  steps: 300,
  kind: "length",
  rules: {
    SGD: {lr: 0.015},
    Momentum: {lr: 0.005},
    Adagrad: {lr: 0.6},
    RMSProp: {lr: 0.02, decay_rate: 0.9},
    Adam: {lr: 0.2},
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
    this.at = Infinity; // the step that is shown; between two whole ones while it plays
    this.ground = make("canvas");
    this.grounds = ""; // what the ground shows
    this.build();
    this.player = new Player(
      $("play"),
      "Play",
      seconds => {
        this.at += seconds * 24 * $("speed").value;
        if (stillness.matches) this.at = Math.ceil(this.at);
        const goesOn = this.at < this.state.steps;
        if (!goesOn) this.at = this.state.steps;
        this.draw();
        return goesOn;
      },
      () => {
        this.at = Math.floor(this.at);
        if (this.runs) this.draw();
      },
    );
    const play = $("play").onclick;
    $("play").onclick = () => {
      if (!this.player.playing && this.at >= this.state.steps) this.at = 0;
      play();
    };
    this.set({});
  }

  get surface() {
    return SURFACES[this.state.surface];
  }

  /* Set up what `changes` says, and everything else as it is when the page opens. */
  set(changes) {
    const rules = Object.fromEntries(
      RULE_NAMES.map(name => [
        name,
        {
          ...RULES[name].settings,
          ...RACE.rules[name],
          on: !changes.rules || name in changes.rules,
          ...changes.rules?.[name],
        },
      ]),
    );
    this.state = {...structuredClone(RACE), ...structuredClone(changes), rules};
    this.state.start ??= [...this.surface.start];
    this.at = Infinity;
    this.show();
  }

  show() {
    // all controls, then the race
    this.player.toggle(false);
    for (const control of this.controls) control.show();
    for (const [key, radio] of Object.entries(this.radios))
      radio.checked = key === this.state.surface;
    $("formula").textContent = `f(x, y) = ${this.surface.formula}`;
    $("story").textContent = this.surface.story;
    const sliders = this.surface.sliders ?? {};
    this.kappa.hidden = !("kappa" in sliders);
    this.turn.hidden = !("turn" in sliders);
    $("theory").hidden = !this.surface.optima.length;
    this.compute();
  }

  build() {
    const state = () => this.state;
    const changed = () => this.compute();
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
    this.kappa = slider({
      label: "condition κ",
      about: "condition number",
      stops: decades(0, 3),
      state,
      key: "kappa",
      changed,
    });
    this.turn = slider({
      label: "turned by",
      stops: steady(0, 90, 5),
      state,
      key: "turn",
      changed,
      format: v => `${v}°`,
    });
    const coordinate = (k, name) => {
      const input = make("input", {type: "number", step: "any", ariaLabel: `Start, ${name}`});
      const element = make(
        "label",
        {className: "choice"},
        make("span", {textContent: `start ${name}`}),
        input,
      );
      element.show = () => {
        input.value = +this.state.start[k].toPrecision(6);
      };
      input.onchange = () => {
        if (Number.isFinite(input.valueAsNumber)) this.state.start[k] = input.valueAsNumber;
        element.show(); // what is no number leaves the start as it was
        this.compute();
      };
      return element;
    };
    this.coordinates = [coordinate(0, "x"), coordinate(1, "y")];
    $("shape-knobs").append(this.kappa, this.turn);
    const strip = [
      ...this.coordinates,
      slider({
        label: "mini-batch noise",
        stops: [0, ...decades(-2, 0)],
        state,
        key: "noise",
        changed,
      }),
      slider({label: "its seed", stops: steady(1, 20, 1), state, key: "seed", changed}),
      slider({
        label: "steps",
        stops: [50, 100, 150, 200, 300, 400, 600, 800, 1000],
        state,
        key: "steps",
        changed: () => {
          this.at = Infinity;
          this.compute();
        },
      }),
    ];
    $("surface-knobs").append(...strip);
    $("kind").append(
      ...Object.entries(KINDS).map(([value, textContent]) => make("option", {value, textContent})),
    );
    $("kind").onchange = () => {
      this.state.kind = $("kind").value;
      this.draw();
    };
    this.cards = Object.fromEntries(RULE_NAMES.map((name, i) => [name, this.card(name, i)]));
    $("rules").append(...RULE_NAMES.map(name => this.cards[name].element));
    this.controls = [
      this.kappa,
      this.turn,
      ...strip,
      ...RULE_NAMES.flatMap(name => this.cards[name].controls),
    ];
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
    const state = () => this.state.rules[name];
    const changed = () => this.compute();
    const knob = (key, label, stops) =>
      slider({label, about: `${name}: ${label}`, stops, state, key, changed});
    const box = (key, label) => tick({label, about: `${name}: ${label}`, state, key, changed});
    const knobs = {
      lr: () => knob("lr", "learning rate", STOPS.rate),
      mu: () => knob("mu", "mu", STOPS.memory),
      decay_rate: () => knob("decay_rate", "decay rate", STOPS.memory),
      beta1: () => knob("beta1", "beta1", STOPS.memory),
      beta2: () => knob("beta2", "beta2", STOPS.memory),
      nesterov: () => box("nesterov", "Nesterov's form"),
      bias_correction: () => box("bias_correction", "bias correction"),
    };
    const controls = Object.keys(RULES[name].settings)
      .filter(key => key in knobs)
      .map(key => knobs[key]());
    const entered = make("input", {type: "checkbox", ariaLabel: `${name} takes part`});
    const sample = make("canvas", {ariaHidden: "true"});
    const facts = make("dl");
    const element = make(
      "section",
      {className: "card rule", ariaLabel: name},
      make("label", {}, entered, sample, make("b", {textContent: name})),
      make("code", {textContent: RULES[name].formula}),
      ...controls,
      facts,
    );
    entered.onchange = () => {
      this.state.rules[name].on = entered.checked;
      this.compute();
    };
    const whole = {
      show: () => {
        entered.checked = this.state.rules[name].on;
      },
    };
    return {element, facts, sample, i, controls: [whole, ...controls]};
  }

  moveStart() {
    const handle = $("start");
    const map = $("map");
    const here = event => {
      const box = map.getBoundingClientRect();
      const [left, right, bottom, top] = this.surface.view;
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
      const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[
        event.key
      ];
      if (!way) return;
      event.preventDefault();
      const by = event.shiftKey ? 0.5 : 0.05;
      const [x, y] = this.state.start;
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
      const share =
        (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
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
      this.runs[name] = descend(
        surface,
        state,
        name,
        state.rules[name],
        state.start,
        state.steps,
        shifts,
      );
    }
    this.at = Math.min(this.at, state.steps);
    const text = verdict(this.runs, state.steps);
    if ($("verdict").textContent !== text) $("verdict").textContent = text;
    const [x, y] = state.start.map(shortNumber);
    $("start").ariaLabel = `Start at x ${x}, y ${y}; arrow keys move it`;
    this.draw();
  }

  look() {
    // with the colors and the size of the window as they are now
    for (const {sample, i} of Object.values(this.cards)) {
      const pen = fit(sample);
      pen.clearRect(0, 0, 22, 22);
      marker(pen, i, 11, 11);
    }
    this.draw();
  }
}
