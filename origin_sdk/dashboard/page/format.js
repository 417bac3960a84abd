// How numbers are written: short, of even width, never more exact than they are.

const MISSING = "–";

export function count(value) {
  if (value == null) return MISSING;
  const size = Math.abs(value);
  if (size >= 1e9) return `${digits(value / 1e9)} G`;
  if (size >= 1e6) return `${digits(value / 1e6)} M`;
  if (size >= 1e4) return `${digits(value / 1e3)} k`;
  return Number.isInteger(value) ? value.toLocaleString("en") : digits(value);
}

export function whole(value) {
  return value == null ? MISSING : Math.round(value).toLocaleString("en");
}

function digits(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2);
}

export function percent(value) {
  if (value == null) return MISSING;
  const shown = value * 100;
  if (shown > 99.9 && shown < 100) return "99.9 %"; // never call all what isn't
  return `${shown === 0 || shown === 100 ? shown : shown < 0.1 ? "<0.1" : shown.toFixed(1)} %`;
}

export function rate(perSecond) {
  if (perSecond == null) return MISSING;
  if (perSecond > 0 && perSecond < 0.1) return `${digits(perSecond * 60)} /min`;
  return `${perSecond >= 1e4 ? count(perSecond) : digits(perSecond)} /s`;
}

export function seconds(value) {
  if (value == null) return MISSING;
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${value * 1000 < 10 ? (value * 1000).toFixed(1) : (value * 1000).toFixed(0)} ms`;
  if (value < 60) return `${digits(value)} s`;
  if (value < 3600) return `${digits(value / 60)} min`;
  if (value < 86400) return `${digits(value / 3600)} h`;
  return `${digits(value / 86400)} d`;
}

export function bytes(value) {
  if (value == null) return MISSING;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000) return `${unit === "B" ? Math.round(value) : digits(value)} ${unit}`;
    value /= 1000;
  }
  return `${digits(value)} TB`;
}

export function dollars(value) {
  if (value == null) return MISSING;
  if (value > 0 && value < 0.01) return "<$0.01";
  return `$${value >= 1000 ? count(value) : value.toFixed(2)}`;
}

export function clock(at, long) {
  const date = new Date(at * 1000);
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: long ? undefined : "2-digit" });
  return long ? `${day(at)} ${time}` : time;
}

export function day(at) {
  return new Date(at * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}

export function ago(at, now) {
  const gone = Math.max(0, now - at);
  if (gone < 5) return "just now";
  if (gone < 60) return `${Math.floor(gone)} s ago`;
  if (gone < 3600) return `${Math.floor(gone / 60)} min ago`;
  if (gone < 86400) return `${Math.floor(gone / 3600)} h ago`;
  return `${Math.floor(gone / 86400)} d ago`;
}
