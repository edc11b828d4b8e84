/* What the first tab draws: the map with all paths, the charts, the facts of each rule. */

Object.assign(RaceTab.prototype, {
  draw() {
    if ($("race").hidden) return;
    const {state} = this;
    const at = Math.floor(this.at + 1e-9);
    this.drawMap();
    const series = (values, extra = {}) =>
      Object.keys(this.runs).map(name => ({
        values: values(this.runs[name]),
        color: inks[RULE_NAMES.indexOf(name)],
        marker: RULE_NAMES.indexOf(name),
        ...extra,
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
    $("map").ariaLabel =
      `${this.surface.title}: contours with the paths of ${names}, up to step ${at}`;
    $("loss").ariaLabel = `Loss of ${names} against the step, on a logarithmic scale`;
    $("second").ariaLabel = `${KINDS[state.kind]}, of ${names}, against the step`;
  },

  secondSeries(series) {
    if (this.state.kind === "length") return series(run => run.length, {from: 1});
    const parts = {
      second: (run, k) => run.second.map(s => (s ? Math.sqrt(s[k]) : NaN)),
      rates: (run, k) => run.rates.map(r => r[k]),
      parts: (run, k) => {
        const [c, s] = ravineAxes(this.surface.sliders ? this.state : {turn: 0});
        const [ox, oy] = this.surface.optima[0] ?? [0, 0];
        return run.x.map((x, t) =>
          Math.abs(k ? c * (run.y[t] - oy) - s * (x - ox) : c * (x - ox) + s * (run.y[t] - oy)),
        );
      },
    }[this.state.kind];
    const from = this.state.kind === "parts" ? 0 : 1;
    const both = [0, 1].flatMap(k => series(run => parts(run, k), {from, dash: k ? [5, 4] : []}));
    return both.filter(one => one.values.some(Number.isFinite));
  },

  drawMap() {
    const {state, surface} = this;
    const map = $("map");
    const pen = fit(map);
    const wide = map.clientWidth;
    const high = map.clientHeight;
    const [left, right, bottom, top] = surface.view;
    const time = surface.center ? surface.center(Math.floor(this.at)) : 0;
    const wanted = [
      state.surface,
      state.kappa,
      state.turn,
      time,
      map.width,
      map.height,
      css("low"),
    ].join();
    if (this.grounds !== wanted) {
      this.drawGround(map.width, map.height, time === 2 ? JUMP_EVERY : 0);
      this.grounds = wanted;
    }
    pen.save();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(this.ground, 0, 0);
    pen.restore();
    const unit = wide / (right - left);
    const X = x => (x - left) * unit;
    const Y = y => high - (y - bottom) * unit;
    this.drawTicks(pen, wide, high, X, Y);

    const active = Object.keys(this.runs).map(name => [this.runs[name], RULE_NAMES.indexOf(name)]);
    const heads = [];
    for (const [run, i] of active) {
      const end = Math.min(Math.floor(this.at + 1e-9), run.steps);
      const share = Math.min(this.at, run.steps) - end;
      const next = Math.min(end + 1, run.steps);
      const x = X(run.x[end] + (run.x[next] - run.x[end]) * share);
      const y = Y(run.y[end] + (run.y[next] - run.y[end]) * share);
      this.drawPath(pen, run, i, end, X, Y, x, y);
      const inX = Math.min(Math.max(x, 10), wide - 10);
      const inY = Math.min(Math.max(y, 10), high - 10);
      heads.push({i, x: inX, y: inY, out: Math.abs(inX - x) > 10 || Math.abs(inY - y) > 10});
    }
    if (surface.saddle) word(pen, "saddle", X(surface.saddle[0]), Y(surface.saddle[1]) + 22);
    for (const [x, y] of surface.optima) cross(pen, X(x), Y(y));
    if (surface.center) cross(pen, X(time), Y(0));
    markers(pen, heads);
    const handle = $("start");
    handle.style.left = `${100 * Math.min(Math.max(X(state.start[0]) / wide, 0), 1)}%`;
    handle.style.top = `${100 * Math.min(Math.max(Y(state.start[1]) / high, 0), 1)}%`;
    handle.classList.toggle("high", Y(state.start[1]) < 50); // its name then stands below it
  },

  drawPath(pen, run, i, end, X, Y, lastX, lastY) {
    // with a seam that parts it from the others
    pen.lineJoin = "round";
    pen.setLineDash(DASH[i]);
    pen.beginPath();
    for (let k = 0; k <= end; k++) pen.lineTo(X(run.x[k]), Y(run.y[k]));
    pen.lineTo(lastX, lastY);
    for (const [color, width, alpha] of [
      [css("low"), 4, 0.7],
      [inks[i], 2, 1],
    ]) {
      pen.globalAlpha = alpha;
      pen.lineWidth = width;
      pen.strokeStyle = color;
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.fillStyle = inks[i];
    for (let k = 1, x0 = X(run.x[0]), y0 = Y(run.y[0]); k <= end; k++) {
      // the steps, where large
      const x = X(run.x[k]);
      const y = Y(run.y[k]);
      if (Math.hypot(x - x0, y - y0) < 5) continue;
      pen.beginPath();
      pen.arc(x, y, 2.8, 0, 7);
      pen.fill();
      [x0, y0] = [x, y];
    }
  },

  drawTicks(pen, wide, high, X, Y) {
    const [left, right, bottom, top] = this.surface.view;
    const every = right - left > 9 ? 2 : 1;
    for (let v = Math.ceil(left); v < right; v++) {
      if (v % every === 0 && X(v) > 40 && X(v) < wide - 22)
        word(pen, v, X(v), high - 6, "center", css("soft"));
    }
    for (let v = Math.ceil(bottom); v < top; v++) {
      if (v % every === 0 && Y(v) > 24 && Y(v) < high - 22)
        word(pen, v, 6, Y(v) + 4, "left", css("soft"));
    }
    word(pen, "x", wide - 6, high - 6, "right", css("soft"));
    word(pen, "y", 6, 14, "left", css("soft"));
  },

  drawGround(width, height, t) {
    // the surface with its contours, on a canvas that is kept
    const across = 129;
    const down = 97;
    const [left, right, bottom, top] = this.surface.view;
    const loss = new Float64Array(across * down);
    for (let row = 0; row < down; row++)
      for (let column = 0; column < across; column++) {
        const x = left + ((right - left) * column) / (across - 1);
        const y = top - ((top - bottom) * row) / (down - 1);
        loss[row * across + column] = this.surface.loss(x, y, this.state, t);
      }
    // The logarithm keeps contours apart both on the cliffs and, with one added, on the ground.
    const low =
      this.surface.optima.length || this.surface.center
        ? [...loss].sort((a, b) => a - b)[Math.floor(0.15 * loss.length)]
        : 1e9;
    const heights = loss.map(v => Math.log1p(v / low));
    const highest = Math.max(...heights);
    heights.forEach((h, k) => {
      heights[k] = h / highest;
    });
    Object.assign(this.ground, {width, height});
    const pen = this.ground.getContext("2d");
    const wide = width / (across - 1);
    pen.imageSmoothingQuality = "high";
    pen.setTransform(wide, 0, 0, height / (down - 1), 0, 0);
    pen.drawImage(
      paint(make("canvas"), across, down, k => pixel(mix(colors.low, colors.high, heights[k]))),
      -0.5,
      -0.5,
    );
    pen.strokeStyle = css("contour");
    contours(heights, across, down, 18).forEach((path, n) => {
      pen.lineWidth = ((n % 4 ? 0.6 : 1.1) * (window.devicePixelRatio || 1)) / wide;
      pen.stroke(path);
    });
  },

  drawFacts(name, at) {
    // loss, outcome and the second moment, of one rule, at the step shown
    const {facts} = this.cards[name];
    const run = this.runs[name];
    if (!run) {
      facts.replaceChildren();
      return;
    }
    const k = Math.min(at, run.steps);
    const {second} = RULES[name];
    const rows = [];
    const pair = (label, [x, y]) =>
      rows.push(
        make("dt", {textContent: label}),
        make("dd", {textContent: shortNumber(x)}),
        make("dd", {textContent: shortNumber(y)}),
      );
    const one = (label, text) =>
      rows.push(
        make("dt", {textContent: label}),
        make("dd", {className: "both", textContent: text}),
      );
    const lost = run.diverged !== null && at >= run.diverged;
    one("loss", `${shortNumber(run.loss[k])}${lost ? ", diverged" : ""}`);
    pair("at x, y", [run.x[k], run.y[k]]);
    if (second && k) pair(`${second} x, y`, run.second[k - 1]);
    if (k) pair("lr for x, y", run.rates[k - 1]);
    one("turns by", `${run.turn.toFixed(0)}° a step`);
    facts.replaceChildren(...rows);
  },
});
