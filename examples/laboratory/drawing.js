/* Pictures: colors, markers, contours, charts. */

const darkness = matchMedia("(prefers-color-scheme: dark)");
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

// Of Okabe and Ito, whom people who are color-blind can tell apart; lighter ones on a dark ground.
const INKS = {
  light: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"],
  dark: ["#4FA8EC", "#FF7A3C", "#22C997", "#EE9CCB", "#FFCB4D"],
};
const DASH = [[], [], [], [7, 5], []]; // so that one sees whose lies below
const SHAPES = [
  // a marker for each rule, as the corners of a polygon around 0, or a circle
  null,
  [
    [-0.85, -0.85],
    [0.85, -0.85],
    [0.85, 0.85],
    [-0.85, 0.85],
  ],
  [
    [0, -1.1],
    [1, 0.75],
    [-1, 0.75],
  ],
  [
    [0, -1.2],
    [1.05, 0],
    [0, 1.2],
    [-1.05, 0],
  ],
  [...Array(10).keys()].map(k => {
    const size = k % 2 ? 0.58 : 1.38;
    const turn = (Math.PI * k) / 5;
    return [size * Math.sin(turn), -size * Math.cos(turn)];
  }),
];
let inks = INKS.light,
  css = name => name,
  colors = {},
  ramp; // ramp: from -1 to 1, in 513 colors

function readColors() {
  const style = getComputedStyle(document.documentElement);
  const theme = document.documentElement.dataset.theme;
  const known = {};
  css = name => (known[name] ??= style.getPropertyValue(`--${name}`).trim());
  inks = (theme ? theme === "dark" : darkness.matches) ? INKS.dark : INKS.light;
  colors = Object.fromEntries(["plus", "minus", "zero", "low", "high"].map(n => [n, rgb(css(n))]));
  ramp = Uint32Array.from({length: 513}, (_, k) => pixel(signed(k / 256 - 1)));
}

function rgb(color) {
  return [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));
}

function fit(canvas) {
  // give a canvas the pixels that its place on the screen has
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

function marker(pen, i, x, y, size = 6.5, hollow = false) {
  pen.beginPath();
  if (SHAPES[i]) for (const [dx, dy] of SHAPES[i]) pen.lineTo(x + dx * size, y + dy * size);
  else pen.arc(x, y, size, 0, 7);
  pen.closePath();
  pen.lineJoin = "round";
  pen.lineWidth = 4;
  pen.strokeStyle = css("card");
  pen.stroke();
  pen.fillStyle = hollow ? css("card") : inks[i];
  pen.fill();
  pen.lineWidth = 1.4;
  pen.strokeStyle = hollow ? inks[i] : css("ink");
  pen.stroke();
}

/* Markers {i, x, y, out} where the points are; of those on one spot, the later ones are smaller. */
function markers(pen, heads, size = 6.5) {
  heads.forEach((head, k) => {
    const below = heads.slice(0, k).filter(h => Math.hypot(h.x - head.x, h.y - head.y) < 5).length;
    const above = heads.slice(k + 1).filter(h => Math.hypot(h.x - head.x, h.y - head.y) < 5).length;
    marker(
      pen,
      head.i,
      head.x,
      head.y,
      size * (1 + 0.3 * above) * (below && !above ? 0.75 : 1),
      head.out,
    );
  });
}

function word(pen, text, x, y, align = "center", color = css("ink")) {
  // readable on any ground
  pen.font = "600 12px system-ui, sans-serif";
  pen.textAlign = align;
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeStyle = css("low");
  pen.strokeText(text, x, y);
  pen.fillStyle = color;
  pen.fillText(text, x, y);
}

function line(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

function cross(pen, x, y, size = 6) {
  for (const [width, color] of [
    [6, css("low")],
    [2.5, css("ink")],
  ]) {
    pen.lineCap = "round";
    pen.lineWidth = width;
    pen.strokeStyle = color;
    for (const s of [-1, 1]) line(pen, x - size, y - size * s, x + size, y + size * s);
    pen.lineCap = "butt";
  }
}

/* The lines at `count` heights, cell by cell of a grid of heights from 0 to 1. */
function contours(heights, across, down, count) {
  const lines = Array.from({length: count}, () => new Path2D());
  for (let row = 0; row < down - 1; row++)
    for (let column = 0; column < across - 1; column++) {
      const k = row * across + column;
      const [a, b, c, d] = [
        heights[k],
        heights[k + 1],
        heights[k + across + 1],
        heights[k + across],
      ];
      const highest = Math.max(a, b, c, d);
      for (
        let n = Math.ceil(Math.min(a, b, c, d) * count);
        n <= highest * count && n < count;
        n++
      ) {
        const level = n / count;
        const ends = [];
        const share = (from, to) => (level - from) / (to - from);
        if (a < level !== b < level) ends.push([column + share(a, b), row]);
        if (b < level !== c < level) ends.push([column + 1, row + share(b, c)]);
        if (d < level !== c < level) ends.push([column + share(d, c), row + 1]);
        if (a < level !== d < level) ends.push([column, row + share(a, d)]);
        for (let e = 0; e + 1 < ends.length; e += 2) {
          lines[n].moveTo(...ends[e]);
          lines[n].lineTo(...ends[e + 1]);
        }
      }
    }
  return lines;
}

/* Red, green and blue as the one number that an image holds for them. */
function pixel([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/* Paint a canvas of `across` by `down` pixels, by a function from a pixel's place to its number. */
function paint(canvas, across, down, numberOf) {
  if (canvas.width !== across || canvas.height !== down)
    Object.assign(canvas, {width: across, height: down});
  const pixels = new Uint32Array(across * down);
  for (let k = 0; k < pixels.length; k++) pixels[k] = numberOf(k);
  const image = new ImageData(new Uint8ClampedArray(pixels.buffer), across, down);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function mix(from, to, share) {
  return from.map((v, i) => v + (to[i] - v) * share);
}

function signed(value) {
  // orange below zero, blue above
  return mix(colors.zero, value < 0 ? colors.minus : colors.plus, Math.min(1, Math.abs(value)));
}

function signedPixel(value) {
  return ramp[
    Number.isFinite(value) ? Math.round(256 * Math.min(Math.max(value, -1), 1)) + 256 : 256
  ];
}

/* Lines over steps, with a logarithmic scale. series: {values, color, dash, marker, from}, where
   values[k] belongs to step k + (from ?? 0). Values at or below zero lie on the floor. */
const MARGIN = {left: 46, right: 18, top: 10, bottom: 24};
function chart(
  canvas,
  series,
  {steps, at = steps, goal = null, floor = 1e-12, decades: most = 9, marks = true},
) {
  const pen = fit(canvas);
  const wide = canvas.clientWidth;
  const high = canvas.clientHeight;
  const {left, right, top, bottom} = MARGIN;
  let [least, largest] = [Infinity, -Infinity];
  for (const {values} of series)
    for (const v of values)
      if (v > floor && v < 1e30) {
        least = Math.min(least, v);
        largest = Math.max(largest, v);
      }
  if (!(largest > 0)) [least, largest] = [0.1, 1];
  if (goal !== null) least = Math.max(Math.min(least, goal), goal / 1000);
  const highest = Math.max(Math.ceil(Math.log10(largest) * 2 + 0.1) / 2, -15);
  const lowest = Math.max(
    Math.min(Math.floor(Math.log10(least) * 2) / 2, highest - 1),
    highest - most,
  );
  const X = k => left + ((wide - left - right) * k) / Math.max(1, steps);
  const Y = v =>
    top +
    ((high - top - bottom) * (highest - Math.max(Math.log10(v), lowest))) / (highest - lowest);

  pen.clearRect(0, 0, wide, high);
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = css("soft");
  pen.strokeStyle = css("line");
  pen.lineWidth = 1;
  pen.textAlign = "right";
  const every = Math.ceil((highest - lowest) / 5);
  const marked = highest - lowest <= 1.5 ? [1, 2, 5] : [1];
  for (let d = Math.floor(lowest); d <= highest; d++)
    for (const m of marked) {
      const v = m * 10 ** d;
      const y = Y(v);
      if (Math.log10(v) < lowest - 1e-9 || Math.log10(v) > highest + 1e-9) continue;
      line(pen, left, y, wide - right, y);
      if (d % every === 0 && !(goal && Math.abs(y - Y(goal)) < 12))
        pen.fillText(shortNumber(v), left - 6, y + 4);
    }
  pen.textAlign = "center";
  const stride = decades(0, 7, [1, 2, 5]).find(s => steps / s <= wide / 60) ?? 1e7;
  for (let k = 0; k <= steps; k += stride) pen.fillText(k, X(k), high - 6);

  pen.save();
  pen.beginPath();
  pen.rect(left, top - 4, wide - left - right + 8, high - top - bottom + 8);
  pen.clip();
  for (const {values, color, dash = [], from = 0, steps: own} of series) {
    pen.strokeStyle = color;
    pen.setLineDash(dash);
    pen.lineJoin = "round";
    for (const faint of at < steps ? [true, false] : [false]) {
      pen.globalAlpha = faint ? 0.25 : 1;
      pen.lineWidth = faint ? 1.2 : 1.8;
      pen.beginPath();
      for (let k = 0; k < values.length; k++) {
        const step = own ? own[k] : k + from;
        if (!faint && step > at) break;
        if (Number.isFinite(values[k])) pen.lineTo(X(step), Y(values[k]));
      }
      pen.stroke();
    }
  }
  pen.restore();
  pen.setLineDash([2, 4]);
  pen.strokeStyle = css("ink");
  if (goal !== null) {
    line(pen, left, Y(goal), wide - right, Y(goal));
    pen.font = "600 12px system-ui, sans-serif";
    pen.textAlign = "right";
    pen.fillStyle = css("ink");
    pen.fillText("goal", left - 6, Y(goal) + 4);
  }
  pen.setLineDash([]);
  if (at < steps) line(pen, X(at), top, X(at), high - bottom);
  if (!marks) return;
  const heads = series
    .filter(s => s.marker !== undefined && s.values.length)
    .map(s => {
      const step = Math.min(Math.floor(at), s.values.length - 1 + (s.from ?? 0));
      const value = s.values[Math.max(0, step - (s.from ?? 0))];
      return {i: s.marker, x: X(step), y: Math.max(Y(value), top)};
    });
  markers(pen, heads, 5);
}
