/* Claims of the lecture, each set up by one click; the verdicts are those of docs/lecture.md.
   A preset says what differs from RACE or NETWORK; in a race only the rules that it names
   take part. */

const HOLDS = "holds";
const CONDITION = "holds with a condition";
const PRESETS = {
  C1: {
    short: "standardize",
    verdict: HOLDS,
    claim: "Standardized data is more learnable",
    look:
      "y is measured in a unit 20 times smaller. Press Train: with standardized inputs SGD " +
      "finds the boundary in 300 steps. On the raw numbers, at the same rate, it is far from " +
      "it by then, and may need thousands.",
    network: {
      data: "moons",
      unit: 20,
      units: [8, 8],
      rule: "SGD",
      rules: {SGD: {lr: 0.3}},
      compare: "standardize",
      share: 0.3,
    },
  },
  C2: {
    short: "BatchNorm",
    verdict: HOLDS,
    claim: "Batch normalisation is the same step, inside",
    look:
      "The first weights are three times too small. Press Train, and watch the distributions " +
      "below: with BatchNorm every layer gets values of a deviation about 1, without it they " +
      "fade from layer to layer, and for hundreds of steps nothing is learned. In the end both " +
      "have learned it: what BatchNorm saves is the way there.",
    network: {
      data: "moons",
      units: [8, 8, 8, 8, 8],
      activation: "relu",
      batchNorm: true,
      initScale: 0.3,
      rule: "SGD",
      rules: {SGD: {lr: 0.1}},
      compare: "batchNorm",
      batch: 30,
    },
  },
  C5: {
    short: "by hand",
    verdict: HOLDS,
    claim: "SGD's learning rate is estimated by hand",
    look:
      "A rate of 0.019 is right for SGD here. Move the condition number one stop up, and it " +
      "diverges; lower the rate tenfold, and it crawls. The rules that divide by the " +
      "gradient's size are less easily upset.",
    race: {
      surface: "ravine",
      kappa: 100,
      rules: {Adagrad: {}, RMSProp: {}, Adam: {}, SGD: {lr: 0.019}},
    },
  },
  C9: {
    short: "rolls on",
    verdict: CONDITION,
    claim: "Momentum does not stop at minima or saddles",
    look:
      "SGD rests in the first hollow. Momentum rolls through it, where the gradient is zero, " +
      "and through the next ones; in the end it has settled, too, for friction takes its " +
      "speed.",
    race: {
      surface: "minima",
      start: [-3.9, 2.8],
      steps: 400,
      rules: {SGD: {lr: 0.1}, Momentum: {lr: 0.1, mu: 0.95}},
    },
  },
  C11: {
    short: "ravines",
    verdict: CONDITION,
    claim: "Adagrad helps in ravines",
    look:
      "A thousand times steeper across: Adagrad is there in a few steps, SGD crawls. Now turn" +
      " the ravine to 45°: Adagrad normalises x and y, no longer along and across, and loses " +
      "its lead.",
    race: {
      surface: "ravine",
      kappa: 1000,
      start: [-1.3, 0.7],
      steps: 1000,
      kind: "parts",
      rules: {SGD: {lr: 0.0019}, Adagrad: {lr: 1}},
    },
  },
  C12: {
    short: "slows down",
    verdict: CONDITION,
    claim: "Adagrad: what happens as training goes on?",
    look:
      "The slope never changes, but Adagrad's step shrinks as 1 / √t (second chart), since " +
      "its cache only grows. Where gradients vanish it stops growing: try the bowl at rate 1," +
      " and the effective rate in the second chart.",
    race: {
      surface: "slope",
      steps: 600,
      rules: {SGD: {lr: 0.015}, Adagrad: {lr: 0.1}, RMSProp: {lr: 0.015}},
    },
  },
  C13: {
    short: "decay rate",
    verdict: CONDITION,
    claim: "A decay rate is better",
    look:
      "The minimum jumps and its slope becomes a third, again and again; both have their best" +
      " rate. RMSProp forgets and follows, Adagrad remembers the steep times and comes ever " +
      "later. On the bowl, where nothing changes, Adagrad wins.",
    race: {
      surface: "moving",
      steps: 400,
      kind: "rates",
      rules: {Adagrad: {lr: 4}, RMSProp: {lr: 0.6, decay_rate: 0.95}},
    },
  },
  C14: {
    short: "saddles",
    verdict: CONDITION,
    claim: "RMSProp still stops at saddles",
    look:
      "Exactly on the ridge (y = 0) both rest at the saddle for ever. Write 1e-12 for start y, " +
      "below the map: RMSProp leaves at once, for it divides by the gradient's size, however " +
      "small; SGD stays for long.",
    race: {
      surface: "saddle",
      start: [-1.6, 0],
      steps: 300,
      rules: {SGD: {lr: 0.05}, RMSProp: {lr: 0.05, decay_rate: 0.9}},
    },
  },
  C15: {
    short: "steadier",
    verdict: CONDITION,
    claim: "RMSProp and momentum give Adam",
    look:
      "The same noise for both, in a ravine. RMSProp turns by about 90° at every step (see " +
      "its card), and Adam, which puts momentum before the division, by about 20°: a steadier" +
      " way.",
    race: {
      surface: "ravine",
      kappa: 100,
      noise: 0.1,
      steps: 300,
      start: [-4, 1.5],
      rules: {
        RMSProp: {lr: 0.05, decay_rate: 0.99},
        Adam: {lr: 0.05, beta1: 0.9, beta2: 0.99, bias_correction: false},
      },
    },
  },
  C16: {
    short: "beta1 = 0",
    verdict: CONDITION,
    claim: "Adam is RMSProp with momentum",
    look:
      "Adam with beta1 = 0 and no bias correction: it lies on RMSProp to the last digit. Move" +
      " beta1 up, and they part. That is the momentum: of the gradient, before the division.",
    race: {
      surface: "valley",
      steps: 300,
      rules: {
        RMSProp: {lr: 0.02, decay_rate: 0.95},
        Adam: {lr: 0.02, beta1: 0, beta2: 0.95, bias_correction: false},
      },
    },
  },
  C17: {
    short: "first steps",
    verdict: CONDITION,
    claim: "Adam is momentum with squared gradients",
    look:
      "On a steady slope a step of Adam should be the learning rate (1 in the second chart). " +
      "As the lecture writes it, its first steps are up to 6.6 times too large, for v starts " +
      "at 0. Switch the bias correction on.",
    race: {
      surface: "slope",
      steps: 100,
      rules: {Momentum: {lr: 0.01}, Adam: {lr: 0.02, bias_correction: false}},
    },
  },
};
