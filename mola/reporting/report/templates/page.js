"use strict";

// Light, dark, or what the system says. The choice is remembered; the page's head reads it before anything is drawn.
const theme = document.querySelector(".theme");
theme.querySelector(`[value=${document.documentElement.dataset.theme || "auto"}]`).checked = true;
theme.addEventListener("change", (event) => {
  const { value } = event.target;
  if (value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
  try {
    localStorage.setItem("mola.theme", value);
  } catch {
    // a browser may keep its storage from a file: then the choice holds until the page is closed
  }
});
theme.hidden = false;

// Tables: a click on a title sorts, worst to best and back, the third one restores the order; words filter the rows.
for (const grid of document.querySelectorAll(".grid")) {
  const table = grid.querySelector("table");
  const bodies = [...table.tBodies];
  const order = new Map(bodies.map((body) => [body, [...body.rows]]));
  const sorted = document.createElement("tbody");
  const heads = [...table.tHead.rows[0].cells];

  const value = (row, column) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const numbers = [Number(a), Number(b)];
    return numbers.some(Number.isNaN) ? a.localeCompare(b, undefined, { numeric: true }) : numbers[0] - numbers[1];
  };

  function restore() {
    for (const [body, rows] of order) body.append(...rows);
    sorted.replaceWith(...bodies);
  }

  function sort(column, sign) {
    const rows = bodies.flatMap((body) => order.get(body)).filter((row) => !row.classList.contains("heading"));
    rows.sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      // what is not there comes last in either direction
      return !x || !y ? !x - !y : sign * compare(x, y);
    });
    sorted.replaceChildren(...rows);
    if (!sorted.isConnected) {
      bodies[0].before(sorted);
      for (const body of bodies) body.remove();
    }
  }

  heads.forEach((head, column) => {
    const button = head.firstElementChild;
    const first = button.dataset.best === "high" ? "descending" : "ascending";
    const next = { "": first, [first]: first === "ascending" ? "descending" : "ascending" };
    button.addEventListener("click", () => {
      const to = next[head.getAttribute("aria-sort") || ""] || "";
      for (const other of heads) other.removeAttribute("aria-sort");
      if (!to) return restore();
      head.setAttribute("aria-sort", to);
      return sort(column, to === "ascending" ? 1 : -1);
    });
  });

  grid.querySelector("input").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const rows of order.values()) {
      const known = rows.filter((row) => !row.classList.contains("heading"));
      for (const row of known) row.hidden = !words.every((word) => row.dataset.words.toLowerCase().includes(word));
      for (const row of rows) if (row.classList.contains("heading")) row.hidden = known.every((other) => other.hidden);
    }
  });
}

// Runs: words filter the sheets, and a link opens the one that it leads to.
const sheets = [...document.querySelectorAll(".sheet")];
document.getElementById("find").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const sheet of sheets) sheet.hidden = !words.every((word) => sheet.dataset.words.toLowerCase().includes(word));
});

function reveal() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (!target) return;
  target.hidden = false;
  for (let place = target; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  // the same link once more changes no address
  if (link && link.getAttribute("href") === location.hash) reveal();
});
reveal();

// Two measures of a benchmark's rows against each other, with the Pareto front.
const data = JSON.parse(document.getElementById("data").textContent);
const form = document.querySelector(".choose");
const plot = document.getElementById("plot");
const HEIGHT = 400;
const EDGE = { left: 58, right: 18, top: 14, bottom: 44 };

function element(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, given] of Object.entries(attributes)) made.setAttribute(key, given);
  made.textContent = text;
  return made;
}

function options(select, entries, chosen) {
  entries.forEach(([key, title]) => select.add(new Option(title, key, false, key === chosen)));
}

/** A scale from data to pixels with ticks; logarithmic where positive values span more than a decade. */
function scale(values, from, to) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const log = least > 0 && most / least > 10;
  const turn = log ? Math.log10 : (x) => x;
  const margin = 0.07 * (turn(most) - turn(least)) || 0.05 * Math.abs(turn(most)) || 1;
  const [low, high] = [turn(least) - margin, turn(most) + margin];
  const ticks = [];
  if (log) {
    for (let power = Math.floor(low); power <= high; power += 1) {
      for (const digit of [1, 2, 5]) ticks.push(digit * 10 ** power);
    }
  } else {
    const rough = (high - low) / 5;
    const step = [1, 2, 5, 10].map((digit) => digit * 10 ** Math.floor(Math.log10(rough))).find((s) => s >= rough);
    for (let count = Math.ceil(low / step); count * step <= high; count += 1) ticks.push(count * step);
  }
  const place = (x) => from + ((turn(x) - low) / (high - low)) * (to - from);
  const inside = (x) => Math.min(Math.max(place(x), Math.min(from, to)), Math.max(from, to));
  return { place, inside, ticks: ticks.filter((x) => turn(x) >= low && turn(x) <= high) };
}

const written = (x) => String(Number(x.toPrecision(6))).replace("-", "−");

/** The points that no other one beats: as good in both measures, and better in one. */
function front(points, x, y) {
  const sign = { higher: 1, lower: -1 };
  const goods = points.map((p) => [sign[x.better] * p.values[x.key][0], sign[y.better] * p.values[y.key][0]]);
  return points.filter((point, i) => point.complete && !goods.some(([a, b], j) => points[j].complete
    && a >= goods[i][0] && b >= goods[i][1] && (a > goods[i][0] || b > goods[i][1])));
}

function draw() {
  const axis = (name) => data.axes.find((each) => each.key === form.elements[name].value);
  const [x, y] = [axis("x"), axis("y")];
  const every = data.benchmarks[Number(form.elements.benchmark.value)].points;
  const points = every.filter((p) => p.values[x.key][0] !== null && p.values[y.key][0] !== null);
  plot.replaceChildren();
  const words = document.getElementById("front");
  if (!points.length) {
    words.textContent = "No row of this benchmark has both numbers.";
    return;
  }
  const width = Math.max(280, plot.clientWidth);
  const across = scale(points.map((p) => p.values[x.key][0]), EDGE.left, width - EDGE.right);
  const up = scale(points.map((p) => p.values[y.key][0]), HEIGHT - EDGE.bottom, EDGE.top);
  const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT });
  for (const tick of across.ticks) {
    const at = across.place(tick);
    svg.append(element("line", { class: "rule", x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
    svg.append(element("text", { class: "tick-text", x: at, y: HEIGHT - EDGE.bottom + 16, "text-anchor": "middle" }, written(tick)));
  }
  for (const tick of up.ticks) {
    const at = up.place(tick);
    svg.append(element("line", { class: "rule", x1: EDGE.left, x2: width - EDGE.right, y1: at, y2: at }));
    svg.append(element("text", { class: "tick-text", x: EDGE.left - 6, y: at + 4, "text-anchor": "end" }, written(tick)));
  }
  const middle = (HEIGHT - EDGE.bottom + EDGE.top) / 2;
  const arrow = { higher: ", more is better", lower: ", less is better" };
  svg.append(element("text", { class: "axis-title", x: (width + EDGE.left) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, x.title + arrow[x.better]));
  svg.append(element("text", { class: "axis-title", transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" }, y.title));
  const best = front(points, x, y).sort((a, b) => a.values[x.key][0] - b.values[x.key][0]);
  const corners = best.map((p) => [across.place(p.values[x.key][0]), up.place(p.values[y.key][0])]);
  // what the front's rows beat lies to the worse side of each corner
  const steps = corners.map(([a, b], i) => (i ? (x.better === "lower" ? `H${a}V${b}` : `V${b}H${a}`) : `M${a} ${b}`));
  svg.append(element("path", { class: "staircase", d: steps.join("") }));
  points.forEach((point) => whiskers(svg, point, x, y, across, up));
  const marks = points.map((point) => mark(svg, point, best.includes(point), x, y, across, up));
  plot.append(svg);
  name(marks, width);
  words.textContent = `On the front: ${best.map((p) => p.label).join(", ") || "no row"}.`;
}

function whiskers(svg, point, x, y, across, up) {
  const [[a, da], [b, db]] = [point.values[x.key], point.values[y.key]];
  const line = (x1, y1, x2, y2) => svg.append(element("line", { class: `whisker s${point.slot}`, x1, y1, x2, y2 }));
  if (da) line(across.inside(a - da), up.place(b), across.inside(a + da), up.place(b));
  if (db) line(across.place(a), up.inside(b - db), across.place(a), up.inside(b + db));
}

function mark(svg, point, best, x, y, across, up) {
  const place = [across.place(point.values[x.key][0]), up.place(point.values[y.key][0])];
  const kind = `point s${point.slot}${best ? " best" : ""}${point.complete ? "" : " short"}`;
  const link = element("a", { class: kind, href: `#${point.link}` });
  const numbers = [x, y].map((axis) => `${axis.title} ${written(point.values[axis.key][0])}`).join(", ");
  link.append(element("title", {}, `${point.label}: ${numbers}`));
  link.append(element("use", { href: `#shape${point.slot}`, transform: `translate(${place.join(" ")})` }));
  const text = element("text", {}, point.label);
  link.append(text);
  svg.append(link);
  return { place, text, best };
}

/** Names beside the points, those of the front first, with a line to a name that is further away. A name of another row that
 *  finds no room stands in the point's title alone. */
function name(marks, width) {
  const taken = marks.map(({ place: [x, y] }) => [x - 6, y - 6, x + 6, y + 6]);
  for (const { place: [x, y], text, best } of [...marks].sort((a, b) => b.best - a.best)) {
    const long = text.getComputedTextLength();
    const places = [[x + 9, y + 4], [x - 9 - long, y + 4], [x - long / 2, y - 9], [x - long / 2, y + 18], [x + 7, y - 7], [x + 7, y + 15], [x - 7 - long, y - 7], [x - 7 - long, y + 15]];
    const far = best ? [-30, 38, -46, 54, -62, 70].flatMap((up) => [[x + 14, y + up], [x - 14 - long, y + up]]) : [];
    const free = [...places, ...far].find(([left, base]) => {
      const box = [left - 1, base - 10, left + long + 1, base + 3];
      return box[0] > EDGE.left && box[2] < width && box[1] > 0 && box[3] < HEIGHT - EDGE.bottom
        && taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
    });
    if (!free) {
      text.remove();
      continue;
    }
    if (far.includes(free)) {
      const end = free[0] > x ? free[0] : free[0] + long;
      text.before(element("line", { class: "leader", x1: x, y1: y, x2: end, y2: free[1] - 4 }));
    }
    text.setAttribute("x", free[0]);
    text.setAttribute("y", free[1]);
    taken.push([free[0] - 1, free[1] - 10, free[0] + long + 1, free[1] + 3]);
  }
}

const known = data.benchmarks.findIndex(({ points }) => points.length);
options(form.elements.benchmark, data.benchmarks.map(({ name: title }, i) => [String(i), title]), String(known));
const axes = data.axes.map(({ key, title }) => [key, title]);
options(form.elements.x, axes, "milliseconds_per_step");
options(form.elements.y, axes, axes.some(([key]) => key === "gain") ? "gain" : "score");
form.elements.benchmark.parentElement.hidden = data.benchmarks.length < 2;
form.hidden = false;
form.addEventListener("change", draw);
addEventListener("resize", draw);
draw();
