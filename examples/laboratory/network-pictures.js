/* What the second tab draws of a network: its units and wires, its output, its distributions. */

// Between columns at least, above the first unit, between units.
const NODE = {x: 76, top: 84, y: 48};

Object.assign(NetworkTab.prototype, {
  buildGraph() {
    const {state} = this;
    const graph = $("graph");
    for (const old of graph.querySelectorAll(".unit, .column, .feature")) old.remove();
    const classes = DATASETS[state.data].classes || 1;
    const columns = [state.features.length, ...state.units, classes];
    graph.style.minWidth = `${columns.length * NODE.x}px`;
    graph.style.height = `${NODE.top + NODE.y * Math.max(...columns) - 4}px`;
    this.places = columns.map((count, l) =>
      Array.from({length: count}, (_, u) => ({
        left: (l + 0.5) / columns.length,
        top: NODE.top + NODE.y * u,
      })),
    );
    const names = l => (l === 0 ? "inputs" : l === columns.length - 1 ? "output" : `layer ${l}`);
    this.units = this.places.map((places, l) => {
      const head = make("div", {className: "column"}, make("span", {textContent: names(l)}));
      head.style.left = `${100 * places[0].left}%`;
      if (l > 0 && l < columns.length - 1) head.append(this.countButtons(l));
      graph.append(head);
      return places.map((place, u) => this.unitButton(l, u, place, names(l)));
    });
    $("fewer").disabled = state.units.length === 0;
    $("more").disabled = state.units.length === 6;
    this.editWeights();
  },

  countButtons(l) {
    const {units} = this.state;
    const change = by => () => this.resize(units.map((n, i) => n + (i === l - 1 ? by : 0)));
    const button = (textContent, by, disabled, word) =>
      make("button", {
        type: "button",
        textContent,
        disabled,
        onclick: change(by),
        ariaLabel: `One unit ${word} in layer ${l}`,
      });
    return make(
      "span",
      {className: "pair"},
      button("−", -1, units[l - 1] <= 1, "fewer"),
      String(units[l - 1]),
      button("+", 1, units[l - 1] >= 8, "more"),
    );
  },

  unitButton(l, u, {left, top}, layer) {
    const name = l ? `${layer}, unit ${u + 1}` : `input ${this.state.features[u]}`;
    const canvas = make("canvas", {width: GRID, height: GRID});
    const button = make(
      "button",
      {type: "button", className: "unit", title: name, ariaLabel: name, ariaPressed: "false"},
      canvas,
    );
    Object.assign(button.style, {left: `${100 * left}%`, top: `${top}px`});
    const hover = value => () => {
      this.hovered = value;
      this.draw();
    };
    button.onpointerenter = button.onfocus = hover([l, u]);
    button.onpointerleave = button.onblur = hover(null);
    button.onclick = () => {
      this.pinned = this.pinned?.join() === [l, u].join() ? null : [l, u];
      this.editWeights();
      this.draw();
    };
    $("graph").append(button);
    if (l === 0) {
      const label = make("span", {className: "feature soft", textContent: this.state.features[u]});
      Object.assign(label.style, {left: `calc(${100 * left}% - 34px)`, top: `${top - 33}px`});
      $("graph").append(label);
    }
    return {button, canvas};
  },

  /* Fields for the weights of the unit that was chosen. */
  editWeights() {
    const [l, u] = this.pinned ?? [0];
    const trainer = this.trainers[0]?.trainer;
    $("weights").hidden = !l || !trainer;
    if (!l || !trainer) return;
    const layer = trainer.network.layers[l - 1];
    const names = l === 1 ? this.state.features : null;
    const field = (label, array, k) => {
      const input = make("input", {type: "number", step: 0.1, value: +array[k].toPrecision(3)});
      input.onchange = () => {
        if (Number.isFinite(input.valueAsNumber)) array[k] = input.valueAsNumber;
        trainer.measure();
        this.draw();
      };
      return make("label", {}, label, input);
    };
    const fields = Array.from({length: layer.inputs}, (_, k) =>
      field(`from ${names ? names[k] : k + 1}`, layer.weight, u * layer.inputs + k),
    );
    if (layer.bias) fields.push(field("bias", layer.bias, u));
    else fields.push(field("scale", layer.scale, u), field("shift", layer.shift, u));
    const place = l === trainer.network.layers.length ? "output" : `layer ${l}`;
    const textContent = `Weights of unit ${u + 1}, ${place}; pause to edit them`;
    $("weights").replaceChildren(make("p", {textContent}), ...fields);
  },

  /* The values of a unit at each place of the grid, after the main network has looked at it. */
  valuesOf(trainer, l, u) {
    const count = trainer.network.sizes[l];
    const all = l
      ? trainer.network.layers[l - 1].rooms.get(GRID * GRID).after
      : this.gridRows(trainer);
    return Float64Array.from({length: GRID * GRID}, (_, k) => all[k * count + u]);
  },

  drawUnits(trainer) {
    const wires = $("wires");
    const pen = fit(wires);
    const wide = wires.clientWidth;
    pen.clearRect(0, 0, wide, wires.clientHeight);
    if (!trainer) return;
    for (const [l, layer] of trainer.network.layers.entries()) {
      const largest = layer.weight.reduce((m, w) => Math.max(m, Math.abs(w)), 1e-9);
      for (let c = 0; c < layer.units; c++)
        for (let k = 0; k < layer.inputs; k++) {
          const weight = layer.weight[c * layer.inputs + k];
          const size = Math.abs(weight) / largest;
          const from = this.places[l][k];
          const to = this.places[l + 1][c];
          const x0 = from.left * wide + 20;
          const x1 = to.left * wide - 20;
          const middle = (x0 + x1) / 2;
          pen.beginPath();
          pen.moveTo(x0, from.top);
          pen.bezierCurveTo(middle, from.top, middle, to.top, x1, to.top);
          pen.lineWidth = 0.4 + 5 * size;
          pen.globalAlpha = 0.15 + 0.7 * size;
          pen.strokeStyle = css(weight < 0 ? "minus" : "plus");
          pen.stroke();
        }
    }
    pen.globalAlpha = 1;
    this.units.forEach((column, l) =>
      column.forEach(({canvas, button}, u) => {
        paint(canvas, GRID, GRID, scaled(this.valuesOf(trainer, l, u)));
        button.ariaPressed = String(this.pinned?.join() === [l, u].join());
      }),
    );
  },

  drawOutput(trainer) {
    const canvas = $("output");
    const pen = fit(canvas);
    const size = canvas.clientWidth;
    const chosen = this.hovered ?? this.pinned;
    pen.fillStyle = css("zero");
    pen.fillRect(0, 0, size, size);
    if (trainer) {
      const color = chosen ? scaled(this.valuesOf(trainer, ...chosen)) : this.outputColors(trainer);
      pen.imageSmoothingQuality = "high";
      pen.drawImage(paint(this.plane, GRID, GRID, color), 0, 0, size, size);
    }
    const [l, u] = chosen ?? [];
    $("shown").textContent = !chosen
      ? ""
      : l === 0
        ? `input ${this.state.features[u]}`
        : l === this.units.length - 1
          ? `output ${u + 1}`
          : `layer ${l}, unit ${u + 1}`;
    this.drawPoints(pen, size);
    if (this.state.data === "own" && this.hand.seen && document.activeElement === canvas) {
      cross(pen, (size * (this.hand.x / VIEW + 1)) / 2, (size * (1 - this.hand.y / VIEW)) / 2);
    }
    const {train, test} = this.points;
    canvas.ariaLabel =
      `What the network says over the plane, with ${train.length} points of training and ` +
      `${test.length} of test. ` +
      (this.state.data === "own"
        ? "Arrow keys move the place, enter adds a point there, backspace takes the last one away."
        : "");
  },

  outputColors(trainer) {
    const {network} = trainer;
    const outputs = network.layers.at(-1).rooms.get(GRID * GRID).after;
    if (network.task === "values")
      return k => signedPixel(this.view.discrete ? Math.sign(outputs[k]) : outputs[k]);
    const classes = network.sizes.at(-1);
    const tintsOf = color =>
      Uint32Array.from({length: 101}, (_, share) =>
        pixel(mix(colors.low, color, 0.1 + 0.006 * share)),
      );
    const tints = classColors().map(tintsOf);
    return k => {
      // the likeliest class, the paler the less sure
      let best = 0,
        total = 0;
      const at = k * classes;
      for (let c = 1; c < classes; c++) if (outputs[at + c] > outputs[at + best]) best = c;
      for (let c = 0; c < classes; c++) total += Math.exp(outputs[at + c] - outputs[at + best]);
      if (!(total >= 1)) return ramp[256];
      const sure = (1 / total - 1 / classes) / (1 - 1 / classes);
      return tints[best][this.view.discrete ? 100 : Math.round(100 * sure)];
    };
  },

  drawPoints(pen, size) {
    const fills = classColors().map(color => `rgb(${color.join()})`);
    const values = !DATASETS[this.state.data].classes;
    const one = ({x, y, label}, test) => {
      const px = (size * (x / VIEW + 1)) / 2;
      const py = (size * (1 - y / VIEW)) / 2;
      const r = values ? 3 : 3.4;
      pen.beginPath();
      if (values || label === 0) pen.arc(px, py, r, 0, 7);
      else
        for (const [dx, dy] of label === 1 ? SHAPES[2] : SHAPES[1])
          pen.lineTo(px + dx * r * 1.15, py + dy * r * 1.15);
      pen.closePath();
      pen.fillStyle = values ? `rgb(${signed(label).map(Math.round).join()})` : fills[label];
      pen.strokeStyle = test ? css("ink") : css("low");
      pen.lineWidth = test ? 1.6 : 1;
      pen.fill();
      pen.stroke();
    };
    for (const p of this.points.train) one(p, false);
    if (this.view.tests) for (const p of this.points.test) one(p, true);
  },

  drawOthers() {
    // the outputs of those it is compared with, small
    const others = this.trainers.slice(1);
    if ($("others").childElementCount !== others.length)
      $("others").replaceChildren(
        ...others.map(() =>
          make(
            "figure",
            {},
            make("canvas", {width: GRID, height: GRID, role: "img"}),
            make("figcaption"),
          ),
        ),
      );
    others.forEach(({name, trainer}, i) => {
      const [canvas, caption] = $("others").children[i].children;
      trainer.network.forward(this.gridRows(trainer), "predict");
      paint(canvas, GRID, GRID, this.outputColors(trainer));
      canvas.ariaLabel = `Output ${name}`;
      caption.textContent = name;
    });
  },

  drawValues() {
    // how the values that enter each activation are distributed
    const shown = this.state.compare === "rules" ? this.trainers.slice(0, 1) : this.trainers;
    const layers = shown.length ? this.state.units.length : 0;
    const box = $("values");
    if (box.childElementCount !== layers)
      box.replaceChildren(
        ...Array.from({length: layers}, () =>
          make("figure", {}, make("canvas", {role: "img"}), make("figcaption")),
        ),
      );
    for (const {trainer} of shown) trainer.network.forward(trainer.inputs, "look");
    for (let l = 0; l < layers; l++) {
      const [canvas, caption] = box.children[l].children;
      const all = shown.map(({name, ink, trainer}) => {
        const layer = trainer.network.layers[l];
        const values = layer.rooms.get(trainer.labels.length).before;
        return {name, ink, values, ...spreadOf(values)};
      });
      histograms(canvas, all);
      caption.replaceChildren(
        `layer ${l + 1}: deviation `,
        ...all.flatMap(({name, ink, deviation}, i) => {
          const text = make("b", {textContent: shortNumber(deviation)});
          text.style.color = inks[ink];
          return [i ? ", " : "", text, all.length > 1 ? ` ${name}` : ""];
        }),
      );
      const told = all.map(
        ({name, mean, deviation}) =>
          `${name}, mean ${shortNumber(mean)}, deviation ${shortNumber(deviation)}`,
      );
      canvas.ariaLabel = `Distribution in layer ${l + 1}: ${told.join("; ")}`;
    }
  },
});

function classColors() {
  return [inks[0], inks[4], inks[2]].map(rgb);
}

function scaled(values) {
  // the colors of values, by the largest of them
  const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-12);
  return k => signedPixel(values[k] / largest);
}

function spreadOf(values) {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
  return {mean, deviation};
}

function histograms(canvas, all) {
  // over one axis from -4 to 4; what lies beyond stands at the ends
  const pen = fit(canvas);
  const wide = canvas.clientWidth;
  const high = canvas.clientHeight - 16;
  const bins = 48;
  const end = 4;
  pen.clearRect(0, 0, wide, high + 16);
  pen.strokeStyle = css("line");
  line(pen, 0, high, wide, high);
  pen.fillStyle = css("soft");
  pen.font = "11px system-ui, sans-serif";
  for (const v of [-4, -2, 0, 2, 4]) {
    pen.textAlign = v === -4 ? "left" : v === 4 ? "right" : "center";
    pen.fillText(
      v === -4 ? "≤ −4" : v === 4 ? "≥ 4" : String(v).replace("-", "−"),
      (wide * (v / end + 1)) / 2,
      high + 12,
    );
  }
  for (const {values, ink} of all) {
    const counts = new Float64Array(bins);
    for (const v of values) {
      if (Number.isFinite(v))
        counts[Math.min(bins - 1, Math.max(0, Math.floor((bins * (v / end + 1)) / 2)))] += 1;
    }
    const most = Math.max(...counts, 1);
    pen.beginPath();
    pen.moveTo(0, high);
    counts.forEach((count, b) => {
      for (const edge of [b, b + 1])
        pen.lineTo((wide * edge) / bins, high - (high - 4) * Math.sqrt(count / most));
    });
    pen.lineTo(wide, high);
    pen.globalAlpha = 0.28;
    pen.fillStyle = inks[ink];
    pen.fill();
    pen.globalAlpha = 1;
    pen.strokeStyle = inks[ink];
    pen.lineWidth = 1.5;
    pen.stroke();
  }
}
