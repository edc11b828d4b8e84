/* A fully connected network, its loss and its gradients by hand; what minidl's nn.Sequential of
   Linear, BatchNorm and activations computes, in float64.

   Arrays lie flat, row after row: a batch of N samples with K numbers each is a list of N * K. The
   weights of a layer are (C, K), those of output c in row c, as in nn.Linear. All parameters stand
   in one array, `x`, and all gradients in another, `dx`, so that a rule moves them in one go. */

const ACTIVATIONS = {
  relu: {title: "ReLU", value: z => (z > 0 ? z : 0), slope: (z, a) => (z > 0 ? 1 : 0), gain: 2},
  tanh: {title: "tanh", value: Math.tanh, slope: (z, a) => 1 - a * a, gain: 1},
  sigmoid: {
    title: "Sigmoid",
    value: z => 1 / (1 + Math.exp(-z)),
    slope: (z, a) => a * (1 - a),
    gain: 1,
  },
  leaky: {
    title: "Leaky ReLU",
    value: z => (z > 0 ? z : 0.01 * z),
    slope: z => (z > 0 ? 1 : 0.01),
    gain: 2,
  },
  none: {title: "none (linear)", value: z => z, slope: () => 1, gain: 1},
};
const EPS = 1e-5;
const FOLLOW = 0.1; // of BatchNorm: beside the variance, and of the running statistics

class Network {
  /* sizes: units from the inputs to the outputs; the initial weights are normal, with standard
     deviation initScale * sqrt(gain / inputs), which for ReLU and initScale 1 is He's. */
  constructor(
    sizes,
    {activation = "tanh", batchNorm = false, initScale = 1, task = "classes", seed = 0},
  ) {
    Object.assign(this, {sizes, task, activation: ACTIVATIONS[activation]});
    const shapes = [];
    for (let l = 1; l < sizes.length; l++) {
      const [inputs, units, hidden] = [sizes[l - 1], sizes[l], l < sizes.length - 1];
      const normed = hidden && batchNorm; // it has a bias of its own, which takes the other's place
      shapes.push({
        inputs,
        units,
        hidden,
        normed,
        parts: {
          weight: units * inputs,
          ...(normed ? {scale: units, shift: units} : {bias: units}),
        },
      });
    }
    const size = shapes.flatMap(s => Object.values(s.parts)).reduce((sum, n) => sum + n, 0);
    this.x = new Float64Array(size);
    this.dx = new Float64Array(size);
    const random = new Random(seed);
    let at = 0;
    this.layers = shapes.map(({parts, ...layer}) => {
      layer.gradient = {};
      for (const [name, count] of Object.entries(parts)) {
        layer[name] = this.x.subarray(at, at + count);
        layer.gradient[name] = this.dx.subarray(at, at + count);
        at += count;
      }
      const deviation = initScale * Math.sqrt(this.activation.gain / layer.inputs);
      layer.weight.forEach((_, i) => {
        layer.weight[i] = deviation * random.normal();
      });
      if (layer.normed) {
        layer.scale.fill(1);
        layer.running = {
          mean: new Float64Array(layer.units),
          variance: new Float64Array(layer.units).fill(1),
        };
      }
      layer.rooms = new Map(); // arrays to compute in, for each number of samples
      return layer;
    });
  }

  room(layer, n) {
    if (!layer.rooms.has(n)) {
      const make = count => new Float64Array(count);
      layer.rooms.set(n, {
        linear: make(n * layer.units),
        centered: make(n * layer.units),
        before: make(n * layer.units),
        after: make(n * layer.units),
        g: make(n * layer.units),
        gInput: make(n * layer.inputs),
        inverse: make(layer.units),
      });
    }
    return layer.rooms.get(n);
  }

  /* The outputs (N, C) for inputs (N, K). mode: "train" (BatchNorm uses the batch's statistics,
     and the running ones follow), "look" (the same, without following), "predict" (the running
     ones). */
  forward(input, mode = "predict") {
    const n = input.length / this.sizes[0];
    for (const layer of this.layers) {
      const room = this.room(layer, n);
      room.input = input;
      linear(input, layer, n, room.linear);
      if (layer.normed) normalise(layer, n, room, mode);
      else room.before = room.linear;
      const {before, after} = room;
      const {value} = this.activation;
      if (layer.hidden) for (let i = 0; i < before.length; i++) after[i] = value(before[i]);
      else room.after = before;
      input = room.after;
    }
    return input;
  }

  /* The mean loss of outputs, and in `g`, if it is given, its gradient for each output. */
  loss(outputs, labels, g = null) {
    const n = labels.length;
    const classes = outputs.length / n;
    let sum = 0;
    for (let i = 0; i < n; i++) {
      if (this.task === "values") {
        // squared error
        const error = outputs[i] - labels[i];
        sum += error * error;
        if (g) g[i] = (2 * error) / n;
        continue;
      }
      const at = i * classes; // cross entropy: log of the sum of exp(logits), minus the true logit
      let most = -Infinity,
        total = 0;
      for (let c = 0; c < classes; c++) most = Math.max(most, outputs[at + c]);
      for (let c = 0; c < classes; c++) total += Math.exp(outputs[at + c] - most);
      sum += most + Math.log(total) - outputs[at + labels[i]];
      if (g)
        for (let c = 0; c < classes; c++) {
          g[at + c] = (Math.exp(outputs[at + c] - most) / total - (c === labels[i] ? 1 : 0)) / n;
        }
    }
    return sum / n;
  }

  /* The loss of a batch in training; its gradients are in `dx` then. */
  backward(input, labels) {
    const n = labels.length;
    const outputs = this.forward(input, "train");
    let g = this.room(this.layers.at(-1), n).g;
    const loss = this.loss(outputs, labels, g);
    for (const layer of [...this.layers].reverse()) {
      const room = this.room(layer, n);
      const {before, after} = room;
      const {slope} = this.activation;
      if (layer.hidden) for (let i = 0; i < g.length; i++) g[i] *= slope(before[i], after[i]);
      if (layer.normed) normaliseBackward(layer, n, room, g);
      linearBackward(layer, n, room, g);
      g = room.gInput;
    }
    return loss;
  }
}

function linear(input, {inputs, units, weight, bias}, n, out) {
  // out = input @ weight.T + bias
  for (let i = 0; i < n; i++)
    for (let c = 0; c < units; c++) {
      let sum = bias ? bias[c] : 0;
      for (let k = 0; k < inputs; k++) sum += input[i * inputs + k] * weight[c * inputs + k];
      out[i * units + c] = sum;
    }
}

function linearBackward({inputs, units, weight, bias, gradient}, n, {input, gInput}, g) {
  gInput.fill(0);
  gradient.weight.fill(0);
  if (bias) gradient.bias.fill(0);
  for (let i = 0; i < n; i++)
    for (let c = 0; c < units; c++) {
      const one = g[i * units + c];
      if (bias) gradient.bias[c] += one;
      for (let k = 0; k < inputs; k++) {
        gradient.weight[c * inputs + k] += one * input[i * inputs + k];
        gInput[i * inputs + k] += one * weight[c * inputs + k];
      }
    }
}

/* BatchNorm (claim C2): each unit minus its mean over the batch, over its standard deviation; then
   times `scale`, plus `shift`, which are learned. */
function normalise(
  {units, scale, shift, running},
  n,
  {linear: z, centered, inverse, before},
  mode,
) {
  for (let c = 0; c < units; c++) {
    let mean = running.mean[c],
      variance = running.variance[c];
    if (mode !== "predict") {
      mean = variance = 0;
      for (let i = 0; i < n; i++) mean += z[i * units + c] / n;
      for (let i = 0; i < n; i++) variance += (z[i * units + c] - mean) ** 2 / n;
    }
    if (mode === "train") {
      running.mean[c] += FOLLOW * (mean - running.mean[c]);
      running.variance[c] += FOLLOW * ((variance * n) / (n - 1) - running.variance[c]);
    }
    inverse[c] = 1 / Math.sqrt(variance + EPS);
    for (let i = c; i < n * units; i += units) {
      centered[i] = z[i] - mean;
      before[i] = centered[i] * inverse[c] * scale[c] + shift[c];
    }
  }
}

/* g reaches z directly, through the mean and through the variance; in place. With h the normalised
   values:  scale / deviation * (g - mean(g) - h mean(g h)). */
function normaliseBackward({units, scale, gradient}, n, {centered, inverse}, g) {
  for (let c = 0; c < units; c++) {
    let sum = 0,
      product = 0;
    for (let i = c; i < n * units; i += units) {
      sum += g[i];
      product += g[i] * centered[i] * inverse[c];
    }
    gradient.shift[c] = sum;
    gradient.scale[c] = product;
    for (let i = c; i < n * units; i += units) {
      g[i] = scale[c] * inverse[c] * (g[i] - sum / n - (centered[i] * inverse[c] * product) / n);
    }
  }
}

/* Data, a network and a rule that trains it, in batches that a seed shuffles. */
class Trainer {
  constructor(state, train, test) {
    const {features, unit, standardize, units, rule, rules, regularize, strength} = state;
    Object.assign(this, {state, train, test, steps: 0, epochs: 0, order: [], curve: []});
    const columns = features.length;
    const raw = featureRows(train, features, unit);
    this.standardizer = new Standardizer(raw, columns, standardize);
    this.inputs = this.standardizer.apply(raw);
    this.labels = train.map(p => p.label);
    this.testInputs = this.rows(test);
    this.testLabels = test.map(p => p.label);
    const classes = DATASETS[state.data].classes;
    const sizes = [columns, ...units, classes || 1];
    this.network = new Network(sizes, {
      ...state,
      task: classes ? "classes" : "values",
      seed: state.seed,
    });
    const weight_decay = regularize === "L2" ? strength : 0;
    this.optimizer = new Optimizer(rule, this.network.x.length, {...rules[rule], weight_decay});
    this.random = new Random(state.seed + 1000);
    this.batch = Math.min(state.batch, train.length);
    this.lost = false;
    this.measure();
  }

  rows(list) {
    return this.standardizer.apply(featureRows(list, this.state.features, this.state.unit));
  }

  nextBatch() {
    // the numbers of its samples; what is left at the end of an epoch is left out
    if (this.order.length < this.batch) {
      if (this.steps) this.epochs += 1;
      this.order = this.random.shuffle([...this.labels.keys()]);
    }
    return this.order.splice(0, this.batch);
  }

  step(chosen = this.nextBatch()) {
    const {
      network,
      optimizer,
      state: {regularize, strength},
    } = this;
    const columns = network.sizes[0];
    const input = new Float64Array(chosen.length * columns);
    chosen.forEach((s, i) =>
      input.set(this.inputs.subarray(s * columns, (s + 1) * columns), i * columns),
    );
    const loss = network.backward(
      input,
      chosen.map(s => this.labels[s]),
    );
    if (regularize === "L1")
      network.dx.forEach((g, i) => {
        network.dx[i] = g + strength * Math.sign(network.x[i]);
      });
    optimizer.step(network.x, network.dx);
    this.steps += 1;
    return loss;
  }

  /* Note the losses and the share that is right, on what was trained on and on what was not. */
  measure() {
    const at = {step: this.steps};
    for (const [name, inputs, labels] of [
      ["train", this.inputs, this.labels],
      ["test", this.testInputs, this.testLabels],
    ]) {
      if (!labels.length) continue;
      const outputs = this.network.forward(inputs, "predict");
      at[name] = this.network.loss(outputs, labels);
      at[`${name}Right`] = this.network.task === "classes" ? right(outputs, labels) : null;
    }
    this.lost ||= at.train !== undefined && !Number.isFinite(at.train);
    this.curve.push(at);
    if (this.curve.length > 800) {
      // every other one is enough from now on
      this.curve = this.curve.filter((_, i) => i % 2 === 0 || i === this.curve.length - 1);
    }
    this.now = at;
  }
}

function right(outputs, labels) {
  // the share of the samples whose largest output is the true one
  const classes = outputs.length / labels.length;
  let count = 0;
  labels.forEach((label, i) => {
    const row = outputs.subarray(i * classes, (i + 1) * classes);
    if (row.every(v => v <= row[label])) count += 1;
  });
  return count / labels.length;
}
