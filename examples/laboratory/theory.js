/* The card of the first tab that shows what theory says of SGD and momentum near a minimum: rates
   and mu, and by what factor the slowest direction shrinks. */

Object.assign(RaceTab.prototype, {
  curvatures() {
    const [optimum] = this.surface.optima;
    return curvaturesAt(this.surface, ...optimum, this.state, 0);
  },

  moveRate() {
    const canvas = $("rate-map");
    const to = event => {
      const box = canvas.getBoundingClientRect();
      const {X, Y} = this.rateAxes();
      this.state.rules.Momentum.lr = +X.back(event.clientX - box.left).toPrecision(3);
      this.state.rules.Momentum.mu = +Math.min(
        Math.max(Y.back(event.clientY - box.top), 0),
        0.995,
      ).toFixed(3);
      for (const control of this.cards.Momentum.controls) control.show();
      this.compute();
    };
    canvas.onpointerdown = event => {
      canvas.setPointerCapture(event.pointerId);
      to(event);
    };
    canvas.onpointermove = event => {
      if (canvas.hasPointerCapture(event.pointerId)) to(event);
    };
    $("best").onclick = () => {
      const best = bestSettings(...this.curvatures());
      this.state.rules.SGD.lr = best.SGD.lr;
      Object.assign(this.state.rules.Momentum, best.Momentum, {nesterov: false});
      for (const name of ["SGD", "Momentum"])
        for (const control of this.cards[name].controls) control.show();
      this.compute();
    };
  },

  rateAxes() {
    // from rate and mu to places on the map of rates, and back
    const canvas = $("rate-map");
    const {left, right, top, bottom} = MARGIN;
    const [, steep] = this.curvatures();
    const low = Math.log10(0.02 / steep);
    const high = Math.log10(8 / steep);
    const wide = canvas.clientWidth - left - right;
    const tall = canvas.clientHeight - top - bottom;
    const X = lr => left + (wide * (Math.log10(lr) - low)) / (high - low);
    const Y = mu => top + tall * (1 - mu);
    X.back = x => 10 ** (low + (high - low) * Math.min(Math.max((x - left) / wide, 0), 1));
    Y.back = y => 1 - (y - top) / tall;
    return {X, Y, wide, tall};
  },

  drawRates() {
    if ($("theory").hidden) return;
    const canvas = $("rate-map");
    const pen = fit(canvas);
    const {X, Y, wide, tall} = this.rateAxes();
    const {left, top} = MARGIN;
    const [flat, steep] = this.curvatures();
    const {SGD, Momentum} = this.state.rules;
    const worst = (lr, mu) => Math.max(factorPerStep(flat, lr, mu), factorPerStep(steep, lr, mu));
    const wanted = [flat, steep, wide, tall, css("low")].join();
    if (this.ratesShown !== wanted) {
      const across = 90;
      const down = 60;
      const fast = rgb(css("accent"));
      const grid = mix(colors.low, colors.high, 0.6);
      this.rates = paint(make("canvas"), across, down, k => {
        const column = k % across;
        const row = Math.floor(k / across);
        const factor = worst(
          X.back(left + (wide * (column + 0.5)) / across),
          1 - (row + 0.5) / down,
        );
        if (factor >= 1) return pixel((column + row) % 4 < 2 ? colors.low : grid);
        return pixel(mix(fast, colors.low, Math.min(1, Math.log10(1 - factor) / -2.5)));
      });
      this.ratesShown = wanted;
    }
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.rates, left, top, wide, tall);
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = css("soft");
    pen.textAlign = "right";
    for (const mu of [0, 0.5, 1]) pen.fillText(mu, left - 6, Y(mu) + 4);
    pen.fillText("mu", left - 6, Y(0.75) + 4);
    pen.textAlign = "center";
    for (const factor of [0.1, 1, 4])
      pen.fillText(shortNumber(factor / steep), X(factor / steep), top + tall + 16);
    const best = bestSettings(flat, steep);
    cross(pen, X(best.Momentum.lr), Y(best.Momentum.mu), 5);
    const inside = lr => Math.min(Math.max(X(lr), left), left + wide);
    marker(pen, 0, inside(SGD.lr), Y(0));
    marker(pen, 1, inside(Momentum.lr), Y(Momentum.mu));
    canvas.ariaLabel =
      "By what factor momentum shrinks the slowest direction, for each learning rate and mu";

    const row = (name, lr, mu) => {
      const factors = [flat, steep].map(curvature => factorPerStep(curvature, lr, mu));
      const slowest = Math.max(...factors, 1e-9);
      const tenth = Math.ceil(Math.log(0.1) / Math.log(slowest)).toLocaleString("en");
      const cells = [name, shortNumber(lr), +mu.toFixed(3), ...factors.map(f => f.toFixed(4))];
      cells.push(slowest >= 1 ? "diverges" : tenth);
      return make("tr", {}, ...cells.map((text, i) => make(i ? "td" : "th", {textContent: text})));
    };
    const head = ["", "rate", "mu", "flat", "steep", "÷ 10 in"];
    $("factors").replaceChildren(
      make("thead", {}, make("tr", {}, ...head.map(text => make("th", {textContent: text})))),
      make(
        "tbody",
        {},
        row("SGD", SGD.lr, 0),
        row("best SGD", best.SGD.lr, 0),
        row("Momentum", Momentum.lr, Momentum.mu),
        row("best mom.", best.Momentum.lr, best.Momentum.mu),
      ),
    );
  },
});
