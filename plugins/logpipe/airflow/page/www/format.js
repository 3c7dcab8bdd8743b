// Numbers, sizes and times as people read them. A reader chooses UTC or the own zone for all of the page.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

let zone = localStorage.getItem("logpipe.zone") === "local" ? "local" : "UTC";
export const zoneName = () => zone;
export function setZone(name) {
  zone = name;
  localStorage.setItem("logpipe.zone", name);
}

/** Seconds that the reader's clock is ahead of UTC at an instant. */
export const shift = (seconds = Date.now() / 1000) =>
  zone === "UTC" ? 0 : -new Date(seconds * 1000).getTimezoneOffset() * 60;

export const count = (value) => (value === null || value === undefined ? "–" : WHOLE.format(value));
export const short = (value) =>
  value === null || value === undefined ? "–" : value < 10000 ? count(value) : SHORT.format(value);

/** Milliseconds, to three digits. */
export const millis = (value) => (value === null || value === undefined ? "–"
  : value < 1000 ? `${Number(value.toPrecision(3))} ms` : `${Number((value / 1000).toPrecision(3))} s`);

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let power = 0;
  while (value >= 999.5 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  return `${power && value < 99.5 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value > 0 && value < 10 ? value.toFixed(1) : short(Math.round(value));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return "0 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

const parts = (seconds) => new Date((seconds + shift(seconds)) * 1000).toISOString();
export const clock = (seconds) => parts(seconds).slice(11, 19);
export const minute = (seconds) => parts(seconds).slice(11, 16);
export const day = (seconds) => parts(seconds).slice(0, 10);
export const instant = (seconds) => `${day(seconds)} ${minute(seconds)}`;
export const seconds = (iso) => Date.parse(iso) / 1000;

/** How far something has moved: "+12 %", or "new" where there was nothing. */
export function change(now, before) {
  if (!before) return now ? "new" : "";
  const share = (100 * (now - before)) / before;
  if (Math.abs(share) < 0.5) return "=";
  return `${share > 0 ? "+" : "−"}${share > 999 || share < -999 ? ">999" : Math.abs(share).toFixed(0)} %`;
}

export const share = (part, whole) => {
  if (!whole || part === null) return "–";
  const percent = (100 * part) / whole;
  return `${percent && percent < 0.995 ? percent.toFixed(2) : percent.toFixed(1)} %`;
};
