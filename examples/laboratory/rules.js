/* The five rules of the lecture, line for line those of minidl/optim/rules.py.

   `x` is the parameters, `dx` their gradient, then comes the state, which is zero at first. `x` and
   the state are changed in place, `dx` is read only. The last argument holds numbers: the settings,
   and `t`, the number of the step. NumPy takes whole arrays, here a loop takes each element. */

const RULES = {
  SGD: {
    formula: "x -= lr * dx",
    settings: {lr: 0.01},
    state: [],
    second: null, // the state that holds squared gradients
    update(x, dx, {}, {lr}) {
      for (let i = 0; i < x.length; i++) x[i] -= lr * dx[i];
    },
  },

  Momentum: {
    formula: "v = mu * v - dx;  x += lr * v",
    settings: {lr: 0.01, mu: 0.9, nesterov: false},
    state: ["v"],
    second: null,
    update(x, dx, {v}, {lr, mu, nesterov}) {
      for (let i = 0; i < x.length; i++) {
        v[i] = mu * v[i] - dx[i];
        x[i] += lr * (nesterov ? mu * v[i] - dx[i] : v[i]);
      }
    },
  },

  Adagrad: {
    formula: "cache += dx**2;  x -= lr * dx / (sqrt(cache) + eps)",
    settings: {lr: 0.1, eps: 1e-10},
    state: ["cache"],
    second: "cache",
    update(x, dx, {cache}, {lr, eps}) {
      for (let i = 0; i < x.length; i++) {
        cache[i] += dx[i] * dx[i];
        x[i] -= (lr * dx[i]) / (Math.sqrt(cache[i]) + eps);
      }
    },
  },

  RMSProp: {
    formula: "cache = decay * cache + (1 - decay) * dx**2;  x -= lr * dx / (sqrt(cache) + eps)",
    settings: {lr: 0.01, decay_rate: 0.99, eps: 1e-8},
    state: ["cache"],
    second: "cache",
    update(x, dx, {cache}, {lr, decay_rate, eps}) {
      for (let i = 0; i < x.length; i++) {
        cache[i] = decay_rate * cache[i] + (1 - decay_rate) * dx[i] * dx[i];
        x[i] -= (lr * dx[i]) / (Math.sqrt(cache[i]) + eps);
      }
    },
  },

  Adam: {
    formula:
      "m = beta1 * m + (1 - beta1) * dx;  v = beta2 * v + (1 - beta2) * dx**2;  " +
      "x -= lr * m / (sqrt(v) + eps)",
    settings: {lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, bias_correction: true},
    state: ["m", "v"],
    second: "v",
    update(x, dx, {m, v}, {t, lr, beta1, beta2, eps, bias_correction}) {
      // (m / c1) / (sqrt(v / c2) + eps), with the numbers taken together before the loop
      const c1 = bias_correction ? 1 - beta1 ** t : 1;
      const root = bias_correction ? Math.sqrt(1 - beta2 ** t) : 1; // of c2
      for (let i = 0; i < x.length; i++) {
        m[i] = beta1 * m[i] + (1 - beta1) * dx[i];
        v[i] = beta2 * v[i] + (1 - beta2) * dx[i] * dx[i];
        x[i] -= (((lr * root) / c1) * m[i]) / (Math.sqrt(v[i]) + eps * root);
      }
    },
  },
};
const RULE_NAMES = Object.keys(RULES);

/* A rule with settings and state, for `size` parameters. */
class Optimizer {
  constructor(rule, size, settings = {}) {
    this.rule = RULES[rule];
    this.settings = {weight_decay: 0, ...this.rule.settings, ...settings};
    this.state = Object.fromEntries(this.rule.state.map(name => [name, new Float64Array(size)]));
    this.decayed = new Float64Array(size);
    this.t = 0;
  }

  step(x, dx) {
    this.t += 1;
    const decay = this.settings.weight_decay;
    if (decay) {
      // dx + weight_decay * x takes the place of the gradient
      for (let i = 0; i < x.length; i++) this.decayed[i] = dx[i] + decay * x[i];
      dx = this.decayed;
    }
    this.rule.update(x, dx, this.state, {t: this.t, ...this.settings});
  }

  /* What a gradient of 1 would move each parameter now; the factor of claim C10. */
  rates() {
    const {second} = this.rule;
    const {lr, beta2, eps, bias_correction} = this.settings;
    if (!second) return null;
    const c2 = bias_correction ? 1 - beta2 ** this.t : 1;
    return this.state[second].map(square => lr / (Math.sqrt(square / c2) + eps));
  }
}
