/* The second tab: a network of two inputs that learns while one looks. */

const NETWORK = {
  // what is set when the page opens; a preset says what differs
  data: "spirals",
  own: [],
  samples: 300,
  noise: 0.05,
  share: 0.3,
  unit: 1,
  seed: 1,
  features: ["x", "y"],
  standardize: true,
  units: [8, 8],
  activation: "tanh",
  batchNorm: false,
  initScale: 1,
  rule: "Adam",
  batch: 20,
  regularize: "none",
  strength: 0.001,
  pace: 10,
  compare: "none",
  rules: {
    SGD: {lr: 0.1},
    Momentum: {lr: 0.03},
    Adagrad: {lr: 0.05},
    RMSProp: {lr: 0.005},
    Adam: {lr: 0.02},
  },
};
const COMPARED = {
  none: "nothing",
  batchNorm: "BatchNorm switched",
  standardize: "standardizing switched",
  rules: "the other four rules",
};
const VIEW = 2.6; // the plane is shown from minus this to this
const GRID = 40; // places across at which the units are looked at
const BUDGET = 14; // milliseconds of a frame for training, so that 30 frames a second are left

class NetworkTab {
  constructor() {
    this.label = 0; // the class of the next one
    this.hand = {x: 0, y: 0, seen: false}; // the place for the next one, by keyboard
    this.plane = make("canvas");
    this.hovered = this.pinned = null; // [layer, unit] to be shown large
    this.grid = Array.from({length: GRID * GRID}, (_, k) => ({
      x: VIEW * ((2 * ((k % GRID) + 0.5)) / GRID - 1),
      y: VIEW * (1 - (2 * (Math.floor(k / GRID) + 0.5)) / GRID),
    }));
    this.build();
    this.player = new Player(
      $("train"),
      "Train",
      () => {
        this.advance(this.state.pace);
        return this.trainers.length > 0 && !this.trainers[0].trainer.lost;
      },
      () => {
        if (this.trainers) this.draw();
      },
    );
    this.set({});
  }

  set(changes) {
    const rules = Object.fromEntries(
      RULE_NAMES.map(name => [
        name,
        {
          ...RULES[name].settings,
          ...NETWORK.rules[name],
          ...changes.rules?.[name],
        },
      ]),
    );
    this.state = {...structuredClone(NETWORK), ...structuredClone(changes), rules};
    this.show();
  }

  show() {
    this.player.toggle(false);
    for (const control of this.controls) control.show();
    this.restart();
  }

  build() {
    const state = () => this.state;
    const anew = () => this.restart();
    const look = () => this.draw();
    const knob = (label, key, stops, changed = anew, format) =>
      slider({label, stops, state, key, changed, format});
    const pick = (label, key, options, changed = anew) =>
      choice({label, key, options, state, changed});
    const titles = table =>
      Object.fromEntries(Object.entries(table).map(([key, {title}]) => [key, title]));
    const box = (label, key, changed = anew) => tick({label, key, state, changed});

    const rate = slider({
      label: "learning rate",
      stops: STOPS.rate,
      state: () => this.state.rules[this.state.rule],
      key: "lr",
      changed: () => this.retune(),
    });
    const training = [
      pick("rule", "rule", Object.fromEntries(RULE_NAMES.map(name => [name, name])), () => {
        rate.show();
        this.restart();
      }),
      rate,
      knob("batch size", "batch", [2, 5, 10, 20, 30, 50, 100, 1000], anew, v =>
        v === 1000 ? "all" : String(v),
      ),
      pick("activation", "activation", titles(ACTIVATIONS)),
      box("BatchNorm", "batchNorm"),
      knob("init scale", "initScale", [0, 0.01, 0.03, 0.1, 0.3, 0.5, 1, 1.5, 2, 3, 5, 10]),
      pick("regularisation", "regularize", {none: "none", L1: "L1", L2: "L2 (weight decay)"}),
      knob("its strength", "strength", decades(-5, 0, [1, 3])),
    ];
    $("training-knobs").append(...training);
    const timing = [
      pick("compare with", "compare", COMPARED),
      knob("steps a frame", "pace", [1, 2, 5, 10, 20, 50], () => {}),
    ];
    $("timing-knobs").append(...timing);
    const data = [
      pick("points", "data", titles(DATASETS)),
      knob("how many", "samples", [20, 50, 100, 200, 300, 500]),
      knob("noise", "noise", steady(0, 0.5, 0.05)),
      knob("for testing", "share", steady(0, 0.9, 0.1), anew, v => `${Math.round(100 * v)} %`),
      knob("seed", "seed", steady(1, 30, 1)),
      knob("unit of y: times", "unit", [1, 2, 5, 10, 20, 50, 100]),
      box("standardize inputs", "standardize"),
    ];
    $("data-knobs").append(...data);
    const features = Object.keys(FEATURES).map(name => {
      const element = tick({
        label: name,
        about: `Feature ${name}`,
        state: () => ({}),
        key: name,
        changed: () => {},
      });
      const input = element.querySelector("input");
      element.show = () => {
        input.checked = this.state.features.includes(name);
      };
      input.onchange = () => {
        const chosen = Object.keys(FEATURES).filter(f =>
          f === name ? input.checked : this.state.features.includes(f),
        );
        if (chosen.length) this.state.features = chosen;
        element.show();
        this.restart();
      };
      return element;
    });
    $("features").append(...features);
    this.view = {discrete: false, tests: false};
    const views = [
      tick({label: "classes only", key: "discrete", state: () => this.view, changed: look}),
      tick({label: "test points", key: "tests", state: () => this.view, changed: look}),
    ];
    $("output-knobs").append(...views);
    this.controls = [...training, ...timing, ...data, ...features, ...views];

    $("train-step").onclick = () => {
      this.player.toggle(false);
      this.advance(1);
    };
    $("restart").onclick = () => this.restart();
    $("fewer").onclick = () => this.resize(this.state.units.slice(0, -1));
    $("more").onclick = () => this.resize([...this.state.units, this.state.units.at(-1) ?? 4]);
    this.buildOwn();
  }

  resize(units) {
    this.state.units = units;
    this.hovered = this.pinned = null;
    this.restart();
  }

  buildOwn() {
    [0, 1, 2].forEach(label => {
      const radio = make("input", {type: "radio", name: "own", checked: label === 0});
      radio.onchange = () => {
        this.label = label;
      };
      $("own").append(
        make(
          "label",
          {className: "tick"},
          radio,
          make("span", {textContent: `class ${"ABC"[label]} ${"●▲■"[label]}`}),
        ),
      );
    });
    const button = (textContent, work) =>
      $("own").append(
        make("button", {
          type: "button",
          textContent,
          onclick: () => {
            work();
            this.restart();
          },
        }),
      );
    button("Undo", () => this.state.own.pop());
    button("Clear", () => {
      this.state.own = [];
    });
    const add = (x, y) => {
      if (this.state.data !== "own") return;
      this.state.own.push({x, y, label: this.label});
      const playing = this.player.playing;
      this.restart();
      this.player.toggle(playing);
    };
    const output = $("output");
    output.onclick = event => {
      const box = output.getBoundingClientRect();
      add(
        VIEW * ((2 * (event.clientX - box.left)) / box.width - 1),
        VIEW * (1 - (2 * (event.clientY - box.top)) / box.height),
      );
    };
    output.onkeydown = event => {
      if (this.state.data !== "own") return;
      const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[
        event.key
      ];
      if (way) {
        this.hand.x = Math.min(Math.max(this.hand.x + 0.1 * way[0], -VIEW), VIEW);
        this.hand.y = Math.min(Math.max(this.hand.y + 0.1 * way[1], -VIEW), VIEW);
      } else if (event.key === "Enter" || event.key === " ") add(this.hand.x, this.hand.y);
      else if (event.key === "Backspace") {
        this.state.own.pop();
        this.restart();
      } else return;
      this.hand.seen = true;
      event.preventDefault();
      this.draw();
    };
  }

  /* Data and networks anew, from the same seeds. */
  restart() {
    const {state} = this;
    const random = new Random(state.seed);
    const set = DATASETS[state.data];
    const all =
      state.data === "own"
        ? [...this.state.own]
        : random.shuffle(set.make(state.samples, state.noise, random));
    const tests = state.data === "own" ? 0 : Math.round(state.share * all.length);
    this.points = {train: all.slice(tests), test: all.slice(0, tests)};
    const variants = {
      // all have the same first weights and the same batches
      none: [],
      rules: RULE_NAMES.filter(name => name !== state.rule).map(rule => ({rule})),
      batchNorm: [{batchNorm: !state.batchNorm}],
      standardize: [{standardize: !state.standardize}],
    }[state.compare];
    const enough = this.points.train.length >= 2;
    const entry = (variant, i) => {
      const own = {...state, ...variant};
      const name = {
        none: own.rule,
        rules: own.rule,
        batchNorm: own.batchNorm ? "with BatchNorm" : "without BatchNorm",
        standardize: own.standardize ? "standardized" : "raw inputs",
      }[state.compare];
      const byRule = ["rules", "none"].includes(state.compare);
      const trainer = new Trainer(own, this.points.train, this.points.test);
      return {name, ink: byRule ? RULE_NAMES.indexOf(own.rule) : i, trainer};
    };
    this.trainers = enough ? [{}, ...variants].map(entry) : [];
    if (!enough) this.player.toggle(false);
    $("own").hidden = state.data !== "own";
    this.buildGraph();
    this.draw();
  }

  retune() {
    // another rate, while it goes on
    const {rule, rules} = this.state;
    for (const {trainer} of this.trainers) {
      if (trainer.state.rule === rule) trainer.optimizer.settings.lr = rules[rule].lr;
    }
  }

  advance(steps) {
    const until = performance.now() + BUDGET;
    for (let i = 0; i < steps && (i === 0 || performance.now() < until); i++) {
      for (const {trainer} of this.trainers) if (!trainer.lost) trainer.step();
    }
    this.frames = (this.frames ?? 0) + 1;
    if (!this.player.playing || this.frames % 3 === 0) {
      for (const {trainer} of this.trainers) if (!trainer.lost) trainer.measure();
    }
    this.draw();
  }

  draw() {
    // all of it, or while it trains in every third picture what need not be in each
    if ($("network").hidden) return;
    const part = this.player.playing ? this.frames % 3 : null;
    const main = this.trainers[0]?.trainer;
    $("epoch").textContent = main ? `epoch ${main.epochs}, step ${main.steps}` : "no data yet";
    if (main) main.network.forward(this.gridRows(main), "predict");
    if (part === null || this.frames % 2 === 0) this.drawUnits(main);
    this.drawOutput(main);
    if (part === null || part === 1) this.drawOthers();
    if (part === null || part === 2) this.drawValues();
    if (part === 1 || part === 2) return;
    this.drawCurves();
    const text = this.result();
    if ($("result").textContent !== text) $("result").textContent = text;
  }

  gridRows(trainer) {
    return (trainer.gridRows ??= trainer.rows(this.grid));
  }

  result() {
    // what happened, in plain words
    if (!this.trainers.length)
      return "Choose a class and tap the picture of the output: two points are enough to begin.";
    const classes = this.trainers[0].trainer.network.task === "classes";
    const share = right => `${(100 * right).toFixed(0)} %`;
    const tell = ({name, trainer: {now, lost}}) => {
      if (lost) return `${name} diverged`;
      const [train, test] = classes ? ["trainRight", "testRight"] : ["train", "test"];
      const word = classes ? share : shortNumber;
      return `${name} ${word(now[train])}${now.test === undefined ? "" : ` (${word(now[test])})`}`;
    };
    if (!this.trainers[0].trainer.steps) return "Not trained yet: press Train.";
    const what = classes ? "Right in training" : "Squared error in training";
    const tests = this.points.test.length ? " (on the test points)" : "";
    const alive = this.trainers.filter(({trainer}) => !trainer.lost);
    const best = alive.reduce(
      (a, b) => (b.trainer.now.train < a.trainer.now.train ? b : a),
      alive[0],
    );
    const lowest = this.trainers.length > 1 && best ? ` Lowest loss: ${best.name}.` : "";
    return `${what}${tests}: ${this.trainers.map(tell).join(", ")}.${lowest}`;
  }

  drawCurves() {
    const main = this.trainers[0]?.trainer;
    if (!main) return;
    const several = this.trainers.length > 1;
    const series = [];
    for (const {ink, trainer} of this.trainers) {
      const steps = trainer.curve.map(c => c.step);
      const color = inks[ink];
      series.push({values: trainer.curve.map(c => c.train), steps, color});
      if (!several && trainer.curve[0].test !== undefined)
        series.push({
          values: trainer.curve.map(c => c.test),
          steps,
          color: css("soft"),
          dash: [5, 4],
        });
    }
    chart($("curve"), series, {steps: Math.max(10, main.steps), decades: 5, marks: false});
    const key = several
      ? this.trainers.map(({name, ink}) => [name, inks[ink]])
      : [
          ["training", inks[this.trainers[0].ink]],
          ["test (dashed)", css("soft")],
        ];
    $("curve-key").replaceChildren(
      ...key.flatMap(([name, color]) => {
        const line = make("b", {textContent: "━ "});
        line.style.color = color;
        return [line, `${name}  `];
      }),
    );
    $("curve").ariaLabel = `Loss of ${this.trainers.map(t => t.name).join(", ")} against the step`;
  }

  look() {
    this.draw();
  }
}
