/* The landscapes of the race: a loss of two parameters, and its gradient by hand.

   `o` holds what the sliders say: `kappa`, the condition number, and `turn`, the angle of the
   ravine in degrees; `t` is the number of steps made, for the one surface that changes in the
   meantime. A surface's lowest value is 0; a run has arrived where its loss stays below `goal`. */

function ravineAxes({turn}) {
  return [Math.cos((turn * Math.PI) / 180), Math.sin((turn * Math.PI) / 180)];
}

const JUMP_EVERY = 60;
const FLATTER = 1 / 3; // of the moving bowl

const SURFACES = {
  bowl: {
    title: "Bowl",
    formula: "x²/2 + y²/2",
    story: "Equally curved in all directions: the gradient points straight at the minimum.",
    start: [-3.2, 1.8],
    optima: [[0, 0]],
    goal: 0.01,
    view: [-4.4, 3.6, -3, 3],
    curvatures: () => [1, 1],
    loss: (x, y) => (x * x + y * y) / 2,
    gradient: (x, y) => [x, y],
  },

  ravine: {
    title: "Ravine",
    formula: "x²/2 + κ y²/2",
    story:
      "κ times steeper across than along: the steep direction bounds SGD's rate, the flat one " +
      "decides how long it takes.",
    start: [-4, 1],
    optima: [[0, 0]],
    goal: 0.01,
    view: [-5, 3, -3, 3],
    sliders: {kappa: 100, turn: 0},
    curvatures: o => [1, o.kappa],
    loss(x, y, o) {
      const [c, s] = ravineAxes(o);
      const along = c * x + s * y;
      const across = c * y - s * x;
      return (along * along + o.kappa * across * across) / 2;
    },
    gradient(x, y, o) {
      const [c, s] = ravineAxes(o);
      const along = c * x + s * y;
      const across = c * y - s * x;
      return [c * along - s * o.kappa * across, s * along + c * o.kappa * across];
    },
  },

  saddle: {
    title: "Saddle",
    formula: "x² − y²/2 + y⁴/6 + 3/8",
    story:
      "The slope leads to the saddle at (0, 0). The ways on are up and down, and exactly on " +
      "the ridge (y = 0) no gradient points there.",
    start: [-1.6, 1e-5],
    optima: [
      [0, Math.sqrt(1.5)],
      [0, -Math.sqrt(1.5)],
    ],
    goal: 0.01,
    view: [-2.9, 2.3, -1.95, 1.95],
    saddle: [0, 0],
    loss: (x, y) => x ** 2 - y ** 2 / 2 + y ** 4 / 6 + 3 / 8,
    gradient: (x, y) => [2 * x, (2 * y ** 3) / 3 - y],
  },

  valley: {
    title: "Bent valley",
    formula: "(1 − x)² + 100 (y − x²)²",
    story:
      "Rosenbrock's function. The valley is easy to find and hard to follow: its walls throw " +
      "back whoever steps too far.",
    start: [-1.2, 1],
    optima: [[1, 1]],
    goal: 0.01,
    view: [-2, 2, -0.8, 2.2],
    loss: (x, y) => (1 - x) ** 2 + 100 * (y - x ** 2) ** 2,
    gradient: (x, y) => [2 * (x - 1) - 400 * x * (y - x ** 2), 200 * (y - x ** 2)],
  },

  minima: {
    title: "Several minima",
    formula: "(x² + y²)/10 + (1 − cos 2x cos 2y)/4",
    story:
      "Hollows on the way down into a bowl: who follows the gradient alone rests in the first.",
    start: [-3.9, 2.8],
    optima: [[0, 0]],
    goal: 0.01,
    view: [-5.2, 5.2, -3.9, 3.9],
    loss: (x, y) => (x ** 2 + y ** 2) / 10 + (1 - Math.cos(2 * x) * Math.cos(2 * y)) / 4,
    gradient: (x, y) => [
      x / 5 + (Math.sin(2 * x) * Math.cos(2 * y)) / 2,
      y / 5 + (Math.cos(2 * x) * Math.sin(2 * y)) / 2,
    ],
  },

  slope: {
    title: "Steady slope",
    formula: "12 − x",
    story:
      "The same gradient everywhere, and no minimum: how long a step is, the rule alone decides.",
    start: [0, 0],
    optima: [],
    goal: null,
    view: [-1, 11, -4.5, 4.5],
    loss: x => 12 - x,
    gradient: () => [-1, 0],
  },

  moving: {
    title: "Moving bowl",
    formula: "3⁻ᵏ ((x − c)² + y²)/2",
    story:
      `Every ${JUMP_EVERY} steps the minimum jumps to the other side, and all gradients become a ` +
      "third as large (k counts the jumps).",
    start: [2, 1],
    optima: [],
    goal: null,
    view: [-4, 4, -3, 3],
    center: t => (Math.floor(t / JUMP_EVERY) % 2 ? 2 : -2),
    loss(x, y, o, t = 0) {
      const k = Math.floor(t / JUMP_EVERY);
      return (FLATTER ** k * ((x - this.center(t)) ** 2 + y ** 2)) / 2;
    },
    gradient(x, y, o, t = 0) {
      const k = Math.floor(t / JUMP_EVERY);
      return [FLATTER ** k * (x - this.center(t)), FLATTER ** k * y];
    },
  },
};

/* The smallest and largest curvature at a point, from differences of the gradient. */
function curvaturesAt(surface, x, y, o, t) {
  const h = 1e-4;
  const g = (a, b) => surface.gradient(a, b, o, t);
  const a = (g(x + h, y)[0] - g(x - h, y)[0]) / (2 * h);
  const b = (g(x, y + h)[0] - g(x, y - h)[0]) / (2 * h);
  const d = (g(x, y + h)[1] - g(x, y - h)[1]) / (2 * h);
  const middle = (a + d) / 2;
  const spread = Math.hypot((a - d) / 2, b);
  return [middle - spread, middle + spread];
}
