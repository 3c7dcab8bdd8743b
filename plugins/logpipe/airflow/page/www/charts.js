// The two charts of the traffic. uPlot draws; stacking, labels in UTC and open windows are done here.

import { bytes, clock, day, instant, millis, minute, shift, short } from "./format.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
export const COLOURS = {
  "2xx": "ok", "3xx": "moved", "4xx": "refused", "5xx": "failed", "1xx": "moved", malformed: "odd", lines: "ok",
};
export const LATENCY = { p50: "ok", p95: "refused", p99: "failed" };
const FONT = "12px system-ui, sans-serif";

/** Each series on top of those before it. */
function stacked(rows) {
  const sums = rows.length ? new Array(rows[0].length).fill(0) : [];
  return rows.map((row) => row.map((value, at) => (sums[at] += value)));
}

function label(splits, step) {
  return splits.map((at, number) => {
    const isDay = (at + shift(at)) % 86400 === 0;
    if (step >= 86400 || isDay) return day(at).slice(5);
    return number === 0 && splits.at(-1) - at > 86400 ? instant(at).slice(5) : minute(at);
  });
}

/** Where ticks of the time axis stand: at whole hours and days of the reader's zone. */
function ticks(from, to, width) {
  const wanted = (to - from) / Math.max(2, width / 110);
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000];
  const step = steps.find((each) => each >= wanted) || 5184000;
  const found = [];
  for (let at = Math.ceil((from + shift(from)) / step) * step - shift(from); at <= to; at += step) found.push(at);
  return found;
}

/** A hatched ground behind what may still grow. */
function openGround(plot, from) {
  const { ctx, bbox } = plot;
  const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
  const right = bbox.left + bbox.width;
  if (!from || left >= right) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, bbox.top, right - left, bbox.height);
  ctx.clip();
  ctx.strokeStyle = colour("hatch");
  ctx.lineWidth = devicePixelRatio;
  for (let at = left - bbox.height; at < right; at += 9 * devicePixelRatio) {
    ctx.moveTo(at, bbox.top + bbox.height);
    ctx.lineTo(at + bbox.height, bbox.top);
  }
  ctx.stroke();
  ctx.restore();
}

export class Charts {
  /** @param {{requests: Element, bytes: Element, latency: Element, zoomed: Function, pointed: Function, picked: Function}} places */
  constructor(places) {
    this.places = places;
    this.plots = [];
    new ResizeObserver(() => this.fit()).observe(places.requests);
  }

  draw(answer) {
    const { t, lines, bytes: sent } = answer.series;
    const names = Object.keys(lines);
    const shape = [names.join(), answer.step_s, document.documentElement.className, answer.from, answer.to, shift(), Boolean(answer.latency)].join("|");
    const tops = stacked(names.map((name) => lines[name]));
    const data = [t, ...tops.reverse()]; // the highest is drawn first
    const took = answer.latency && [t, ...Object.values(answer.latency.ms)];
    this.answer = answer;
    if (shape === this.shape) {
      this.plots[0].setData(data);
      this.plots[1].setData([t, sent]);
      if (took) this.plots[2].setData(took);
      return;
    }
    this.shape = shape;
    this.plots.forEach((plot) => plot.destroy());
    const bar = (name) => ({
      label: name, stroke: colour(COLOURS[name] || "ok"), fill: colour(COLOURS[name] || "ok"), width: 0,
      paths: uPlot.paths.bars({ size: [t.length > 400 ? 1 : 0.86, 40], align: 1 }), points: { show: false },
    });
    const size = 230;
    this.plots = [
      this.#plot(this.places.requests, size, short, data, names.slice().reverse().map(bar), true),
      this.#plot(this.places.bytes, 86, bytes, [t, sent], [{
        label: "bytes", stroke: colour("sent"), fill: colour("sent-ground"), width: 1.5, points: { show: false },
        paths: uPlot.paths.stepped({ align: 1 }),
      }], false),
    ];
    if (took) {
      this.plots.push(this.#plot(this.places.latency, 110, millis, took, Object.keys(answer.latency.ms).map((name) => ({
        label: name, stroke: colour(LATENCY[name]), width: 1.5, points: { show: t.length < 3 }, spanGaps: false,
      })), false));
    }
  }

  #plot(place, height, format, data, series, isFirst) {
    const { answer, places } = this;
    const axis = { stroke: colour("quiet"), font: FONT, grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false } };
    return new uPlot({
      width: Math.max(200, place.clientWidth), height, legend: { show: false },
      padding: [8, 8, 0, 0],
      cursor: {
        sync: { key: "traffic" }, drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false,
        bind: { dblclick: () => () => places.zoomed(null) },
      },
      scales: {
        x: { time: false, range: () => [answer.from, answer.to] },
        y: { range: (_, low, high) => [0, Math.max(1, high * 1.08)] },
      },
      axes: [
        { ...axis, show: true, size: isFirst ? 6 : 26, grid: { ...axis.grid, show: true },
          splits: (plot, _, from, to) => ticks(from, to, plot.bbox.width / devicePixelRatio),
          values: (_, splits) => (isFirst ? splits.map(() => "") : label(splits, splits[1] - splits[0])) },
        { ...axis, size: 64, space: isFirst ? 45 : 30, values: (_, splits) => splits.map(format) },
      ],
      series: [{}, ...series],
      hooks: {
        drawClear: [(plot) => openGround(plot, answer.open_from !== null && answer.open_from < answer.to ? Math.max(answer.open_from, answer.from) : 0)],
        setCursor: [(plot) => isFirst && places.pointed(plot.cursor.idx)],
        setSelect: [(plot) => {
          if (plot.select.width > 4) {
            const from = plot.posToVal(plot.select.left, "x"), to = plot.posToVal(plot.select.left + plot.select.width, "x");
            plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            places.zoomed([Math.floor(from / answer.window_s) * answer.window_s, Math.ceil(to / answer.window_s) * answer.window_s]);
          }
        }],
        ready: [(plot) => {
          let down = 0;
          plot.over.addEventListener("mousedown", (event) => (down = event.clientX));
          plot.over.addEventListener("click", (event) => {
            if (Math.abs(event.clientX - down) < 4 && plot.cursor.idx !== null) places.picked(plot.cursor.idx);
          });
        }],
      },
    }, data, place);
  }

  /** Move the cursor by so many points; what the keyboard does. */
  move(by) {
    const [plot] = this.plots;
    if (!plot) return null;
    const last = plot.data[0].length - 1;
    const at = Math.min(last, Math.max(0, (plot.cursor.idx ?? (by > 0 ? -1 : last + 1)) + by));
    plot.setCursor({ left: plot.valToPos(plot.data[0][at] + 1, "x"), top: 10 });
    return at;
  }

  fit() {
    for (const [number, place] of [this.places.requests, this.places.bytes, this.places.latency].entries()) {
      const plot = this.plots[number];
      if (plot && Math.abs(plot.width - place.clientWidth) > 1) plot.setSize({ width: place.clientWidth, height: plot.height });
    }
  }
}

export const pointTime = (at, step) =>
  step >= 86400 ? day(at) : `${day(at)} ${step % 60 ? clock(at) : minute(at)}`;
