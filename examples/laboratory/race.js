/* The race itself, without a picture: runs, how each ended, and the theory of the ravine. */

const FAR = 1000; // who is this far from the start has diverged
const STAY = 0.9; // who is at the goal only after this share of the steps may be passing by

/* How far each mini-batch's surface is moved from the true one, for all steps: the same for all
   rules. A mini-batch is the surface a little out of place, so that its gradient errs most where
   the surface is most curved, and not at all where there is no curvature. */
function batches(steps, noise, seed) {
  const random = new Random(seed);
  const shifts = new Float64Array(2 * steps);
  if (noise)
    shifts.forEach((_, i) => {
      shifts[i] = noise * random.normal();
    });
  return shifts;
}

/* Let one rule descend; all that happened, step by step. */
function descend(surface, o, rule, settings, start, steps, shifts) {
  const optimizer = new Optimizer(rule, 2, settings);
  const run = {
    x: [start[0]],
    y: [start[1]],
    loss: [surface.loss(start[0], start[1], o, 0)],
    length: [], // of each step, in learning rates
    rates: [], // what a gradient of 1 would move x and y, before each step
    second: [], // the squares that the rule keeps of x and of y
    diverged: null,
  };
  const point = Float64Array.from(start);
  for (let t = 0; t < steps; t++) {
    const [x, y] = point;
    const g = surface.gradient(x + shifts[2 * t], y + shifts[2 * t + 1], o, t);
    optimizer.step(point, g);
    const loss = surface.loss(point[0], point[1], o, t + 1);
    const near = Math.hypot(point[0] - start[0], point[1] - start[1]) < FAR;
    if (!near || !Number.isFinite(loss)) {
      run.diverged = t + 1;
      break;
    }
    run.x.push(point[0]);
    run.y.push(point[1]);
    run.loss.push(loss);
    run.length.push(Math.hypot(point[0] - x, point[1] - y) / settings.lr);
    run.rates.push(optimizer.rates() ?? [settings.lr, settings.lr]);
    run.second.push(optimizer.rule.second ? [...optimizer.state[optimizer.rule.second]] : null);
  }
  run.steps = run.x.length - 1;
  run.turn = meanTurn(run);
  run.outcome = outcome(run, surface, o, steps);
  return run;
}

/* By how many degrees each step turns from the one before, on average. */
function meanTurn({x, y, steps}) {
  let sum = 0,
    count = 0;
  for (let k = 2; k <= steps; k++) {
    const [a, b, c, d] = [
      x[k] - x[k - 1],
      y[k] - y[k - 1],
      x[k - 1] - x[k - 2],
      y[k - 1] - y[k - 2],
    ];
    const sizes = Math.hypot(a, b) * Math.hypot(c, d);
    if (!(sizes > 1e-290)) continue;
    sum += Math.acos(Math.min(1, Math.max(-1, (a * c + b * d) / sizes)));
    count += 1;
  }
  return count ? ((sum / count) * 180) / Math.PI : 0;
}

/* How a run ended, in one word, with the step or the place. */
function outcome(run, surface, o, steps) {
  if (run.diverged !== null) return {kind: "diverged", step: run.diverged};
  const {x, y, loss} = run;
  const last = run.steps;
  if (surface.goal === null) {
    const mean = loss.slice(1).reduce((sum, l) => sum + l, 0) / Math.max(1, last);
    return surface.center ? {kind: "mean", value: mean} : {kind: "way", value: x[last] - x[0]};
  }
  let first = loss.length;
  while (first > 0 && loss[first - 1] < surface.goal) first--;
  if (first <= STAY * steps) return {kind: "arrived", step: first};
  if (loss.some(l => l < surface.goal))
    return {kind: "passing", step: loss.findIndex(l => l < surface.goal)};

  const back = Math.floor(0.8 * last);
  let range = 0;
  for (let k = back; k <= last; k++)
    range = Math.max(range, Math.hypot(x[k] - x[last], y[k] - y[last]));
  const [left, right] = surface.view;
  if (range > 0.01 * (right - left)) return {kind: "moving"};
  const [low, high] = curvaturesAt(surface, x[last], y[last], o, last);
  const slope = Math.hypot(...surface.gradient(x[last], y[last], o, last));
  // how far it may be to where the gradient vanishes; a fixed rate swings a little around it
  const far = slope / Math.min(Math.abs(low), Math.abs(high));
  const off = Math.min(...surface.optima.map(([a, b]) => Math.hypot(a - x[last], b - y[last])));
  if (far < 0.02 * (right - left) && off > 0.05 * (right - left)) {
    return {kind: "resting", where: low < 0 ? "at the saddle" : "in a local minimum"};
  }
  return {kind: "crawling"};
}

/* What happened, in one plain paragraph. `runs` holds those that take part, by name. */
function verdict(runs, steps) {
  const names = Object.keys(runs);
  const said = [];
  const of = kind => names.filter(name => runs[name].outcome.kind === kind);
  const value = name => runs[name].outcome.value;
  const step = name => runs[name].outcome.step;
  const listed = (list, note) => list.map(name => `${name} (${note(name)})`).join(", ");
  const joined = list => list.join(", ").replace(/, ([^,]*)$/, " and $1");
  if (!names.length) return "No rule takes part.";

  const arrived = of("arrived").sort((a, b) => step(a) - step(b));
  if (arrived.length) {
    const best = arrived.filter(name => step(name) === step(arrived[0]));
    const rest = arrived.slice(best.length);
    said.push(
      `First at the goal: ${joined(best)}, in ${step(best[0])} steps` +
        (rest.length ? `; then ${listed(rest, step)}.` : "."),
    );
  }
  const means = of("mean").sort((a, b) => value(a) - value(b));
  if (means.length)
    said.push(`Lowest loss on average: ${listed(means, n => shortNumber(value(n)))}.`);
  const ways = of("way").sort((a, b) => value(b) - value(a));
  if (ways.length)
    said.push(`Furthest down after ${steps} steps: ${listed(ways, n => shortNumber(value(n)))}.`);
  const has = (list, one, many) => `${joined(list)} ${list.length > 1 ? many : one}`;
  for (const where of ["in a local minimum", "at the saddle"]) {
    const resting = of("resting").filter(name => runs[name].outcome.where === where);
    if (resting.length) said.push(`${has(resting, "is", "are")} stuck ${where}.`);
  }
  const crawling = of("crawling");
  const moving = of("moving");
  const passing = of("passing");
  const lost = of("diverged");
  if (crawling.length)
    said.push(`${has(crawling, "crawls", "crawl")}: hardly any way is made any more.`);
  if (passing.length)
    said.push(
      `${has(passing, "reaches the goal, but has", "reach the goal, but have")} not settled there.`,
    );
  if (moving.length) said.push(`${has(moving, "is", "are")} still under way after ${steps} steps.`);
  if (lost.length) said.push(`Diverged: ${listed(lost, n => `step ${step(n)}`)}.`);
  if (!arrived.length && !means.length && !ways.length)
    said.unshift("Nobody reached the goal to stay.");
  for (const [a, b] of samePaths(runs)) said.push(`${a} and ${b} take the very same path.`);
  return said.join(" ");
}

function samePaths(runs) {
  const names = Object.keys(runs);
  const pairs = [];
  names.forEach((a, i) =>
    names.slice(i + 1).forEach(b => {
      const one = runs[a];
      const other = runs[b];
      if (
        one.steps &&
        one.steps === other.steps &&
        one.x.every((x, k) => Math.abs(x - other.x[k]) + Math.abs(one.y[k] - other.y[k]) < 1e-9)
      )
        pairs.push([a, b]);
    }),
  );
  return pairs;
}

/* By what factor a distance shrinks with each step in the end, in a bowl of this curvature: for SGD
   |1 - lr c|, for momentum the larger root of z² - (1 + mu - lr c) z + mu = 0, in size. */
function factorPerStep(curvature, lr, mu = 0) {
  const half = (1 + mu - lr * curvature) / 2;
  const inside = half * half - mu;
  return inside < 0 ? Math.sqrt(mu) : Math.abs(half) + Math.sqrt(inside);
}

/* The rate and mu that shrink the slowest direction most (Polyak, 1964). */
function bestSettings(low, high) {
  const a = Math.sqrt(low);
  const b = Math.sqrt(high);
  return {
    SGD: {lr: 2 / (low + high), mu: 0},
    Momentum: {lr: (2 / (a + b)) ** 2, mu: ((b - a) / (b + a)) ** 2},
  };
}

function shortNumber(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-12) return value.toExponential(0);
  if (size >= 1e4 || size < 1e-3)
    return value.toExponential(1).replace(".0", "").replace("e+", "e");
  return String(+value.toPrecision(size >= 100 ? 3 : 2));
}
