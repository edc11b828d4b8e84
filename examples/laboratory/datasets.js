/* Points with a class or a value each, all within about -2 to 2; made anew from a seed. */

const DATASETS = {
  // classes: how many; 0 where each point has a value from -1 to 1
  spirals: {
    title: "Spirals",
    classes: 2,
    make: (n, noise, random) =>
      points(
        n,
        2,
        (c, share) => {
          const turn = 3 * Math.PI * share + Math.PI * c;
          const radius = 0.15 + 1.85 * share;
          return [radius * Math.sin(turn), radius * Math.cos(turn)];
        },
        noise * 0.5,
        random,
      ),
  },
  moons: {
    title: "Moons",
    classes: 2,
    make: (n, noise, random) =>
      points(
        n,
        2,
        (c, share) => {
          const turn = Math.PI * share;
          const side = c ? -1 : 1;
          return [
            1.2 * side * Math.cos(turn) - 0.6 * side,
            1.2 * side * Math.sin(turn) - 0.35 * side,
          ];
        },
        noise,
        random,
      ),
  },
  blobs: {
    title: "Blobs",
    classes: 3,
    make: (n, noise, random) =>
      points(
        n,
        3,
        c => {
          const turn = (2 * Math.PI * c) / 3 + 0.5;
          return [
            1.1 * Math.cos(turn) + 0.3 * random.normal(),
            1.1 * Math.sin(turn) + 0.3 * random.normal(),
          ];
        },
        noise,
        random,
      ),
  },
  circles: {
    title: "Circle",
    classes: 2,
    make: (n, noise, random) =>
      points(
        n,
        2,
        c => {
          const turn = 2 * Math.PI * random.uniform();
          const radius = (c ? 1.3 : 0) + 0.6 * random.uniform();
          return [radius * Math.cos(turn), radius * Math.sin(turn)];
        },
        noise,
        random,
      ),
  },
  xor: {
    title: "Exclusive or",
    classes: 2,
    make: (n, noise, random) =>
      points(
        n,
        2,
        (c, share) => {
          const [x, y] = [0.15 + 1.6 * random.uniform(), 0.15 + 1.6 * random.uniform()];
          return share < 0.5 ? [c ? x : -x, y] : [c ? -x : x, -y];
        },
        noise,
        random,
      ),
  },
  plane: {
    title: "Plane (values)",
    classes: 0,
    make: (n, noise, random) => values(n, (x, y) => (x + y) / 4, noise, random),
  },
  hills: {
    title: "Hills (values)",
    classes: 0,
    make: (n, noise, random) =>
      values(
        n,
        (x, y) =>
          Math.exp(-((x - 1) ** 2 + (y - 1) ** 2)) +
          Math.exp(-((x + 1) ** 2 + (y + 1) ** 2)) -
          Math.exp(-((x - 1) ** 2 + (y + 1) ** 2)) -
          Math.exp(-((x + 1) ** 2 + (y - 1) ** 2)),
        noise,
        random,
      ),
  },
  own: {title: "Your own points", classes: 3, make: () => []},
};

function points(n, classes, place, noise, random) {
  return Array.from({length: n}, (_, i) => {
    const [x, y] = place(i % classes, Math.floor(i / classes) / Math.ceil(n / classes));
    return {x: x + noise * random.normal(), y: y + noise * random.normal(), label: i % classes};
  });
}

function values(n, height, noise, random) {
  return Array.from({length: n}, () => {
    const [x, y] = [4 * random.uniform() - 2, 4 * random.uniform() - 2];
    return {x, y, label: height(x, y) + noise * random.normal()};
  });
}

/* What a network may look at, made of the two measured numbers. */
const FEATURES = {
  x: (x, y) => x,
  y: (x, y) => y,
  "x²": x => x * x,
  "y²": (x, y) => y * y,
  xy: (x, y) => x * y,
  "sin x": x => Math.sin((Math.PI * x) / 2),
  "sin y": (x, y) => Math.sin((Math.PI * y) / 2),
};

/* Rows of features, with y measured in a smaller unit, so that its numbers are larger. */
function featureRows(list, features, unit) {
  const rows = new Float64Array(list.length * features.length);
  list.forEach(({x, y}, i) =>
    features.forEach((name, k) => {
      rows[i * features.length + k] = FEATURES[name](x, unit * y);
    }),
  );
  return rows;
}

/* Subtract the mean, divide by the standard deviation (claim C1), each column by its own. */
class Standardizer {
  constructor(rows, columns, wanted) {
    const n = rows.length / columns;
    this.mean = new Float64Array(columns);
    this.deviation = new Float64Array(columns).fill(1);
    if (!wanted || n < 2) return;
    for (let k = 0; k < columns; k++) {
      let sum = 0,
        squares = 0;
      for (let i = 0; i < n; i++) sum += rows[i * columns + k];
      const mean = sum / n;
      for (let i = 0; i < n; i++) squares += (rows[i * columns + k] - mean) ** 2;
      this.mean[k] = mean;
      this.deviation[k] = Math.sqrt(squares / n) || 1;
    }
  }

  apply(rows) {
    const columns = this.mean.length;
    return rows.map((v, i) => (v - this.mean[i % columns]) / this.deviation[i % columns]);
  }
}
