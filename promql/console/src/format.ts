// How values are shown: with the prefixes that Prometheus' templates use (humanize, humanize1024, humanizeDuration,
// humanizePercentage), at three significant digits, because a table is read at a glance.

const large = ['', 'k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'];
const small = ['', 'm', 'µ', 'n', 'p', 'f', 'a'];
const binary = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei', 'Zi', 'Yi'];

/** What stands for a value that is none. */
export const nothing = '–';

/** A number as %g prints it, at so many significant digits. */
export function digits(value: number, significant = 3): string {
  if (Math.abs(value) >= 10 ** significant) return String(Math.round(value));
  return String(Number(value.toPrecision(significant)));
}

function odd(value: number): string | undefined {
  if (Number.isNaN(value)) return nothing;
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  return undefined;
}

/** A number scaled by a base, and the prefix that says how. Rounding may carry into the next prefix: 999.9 is 1 k. */
function scale(value: number, base: number, prefixes: readonly string[]): { text: string; prefix: string } {
  let i = 0;
  while (Math.abs(value) >= base && i < prefixes.length - 1) {
    value /= base;
    i++;
  }
  if (base === 1000 && Number(Math.abs(value).toPrecision(3)) >= 1000 && i < prefixes.length - 1) {
    value /= base;
    i++;
  }
  return { text: digits(value), prefix: prefixes[i] ?? '' };
}

/** 1234567 is 1.23M, 0.0012 is 1.2m. */
export function humanize(value: number): string {
  const other = odd(value);
  if (other) return other;
  if (value === 0) return '0';
  if (Math.abs(value) >= 1) {
    const { text, prefix } = scale(value, 1000, large);
    return text + prefix;
  }
  let i = 0;
  while (Math.abs(value) < 1 && i < small.length - 1) {
    value *= 1000;
    i++;
  }
  return digits(value) + (small[i] ?? '');
}

/** 1536 is 1.5 Ki. */
export function humanize1024(value: number): string {
  const other = odd(value);
  if (other) return other;
  const { text, prefix } = scale(value, 1024, binary);
  return prefix ? `${text} ${prefix}` : `${text} `;
}

/** 0.0764 is 76.4 ms, 3725 is 1h 2m. */
export function humanizeDuration(value: number): string {
  const other = odd(value);
  if (other) return other;
  if (value === 0) return '0 s';
  const sign = value < 0 ? '−' : '';
  const seconds = Math.abs(value);
  if (seconds < 59.95) {
    const steps: [number, string][] = [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs'], [1e-9, 'ns']];
    const [size, name] = steps.find(([size]) => seconds >= size * 0.9995) ?? [1e-9, 'ns'];
    return `${sign}${digits(seconds / size)} ${name}`;
  }
  const whole = Math.round(seconds);
  const parts: [number, string][] = [[Math.floor(whole / 86400), 'd'], [Math.floor(whole / 3600) % 24, 'h'], [Math.floor(whole / 60) % 60, 'm'], [whole % 60, 's']];
  const first = parts.findIndex(([n]) => n > 0);
  const shown = parts.slice(first, first + 2).filter(([n]) => n > 0);
  return sign + shown.map(([n, unit]) => n + unit).join(' ');
}

/** 0.1234 is 12.3%. */
export function humanizePercentage(value: number): string {
  const other = odd(value);
  if (other) return other;
  const percent = value * 100;
  if (percent !== 0 && Math.abs(percent) < 0.01) return percent > 0 ? '<0.01%' : '>−0.01%';
  return `${digits(percent, Math.abs(percent) < 1 ? 2 : 3)}%`;
}

/** A rate: 0.32 in a second is easier to read than 320 m. */
function rate(value: number): string {
  if (value !== 0 && Math.abs(value) < 0.001) return value > 0 ? '<0.001' : '>−0.001';
  return Math.abs(value) < 1 ? digits(value, 2) : humanize(value);
}

const withUnit: Record<string, (value: number) => string> = {
  bytes: (v) => `${humanize1024(v)}B`,
  bytes_per_second: (v) => `${humanize1024(v)}B/s`,
  celsius: (v) => `${digits(v)} °C`,
  cores: (v) => `${rate(v)} ${v === 1 ? 'core' : 'cores'}`,
  count: humanize,
  hertz: (v) => `${rate(v)}/s`,
  info: (v) => digits(v),
  operations_per_second: (v) => `${rate(v)} op/s`,
  packets_per_second: (v) => `${rate(v)} pkt/s`,
  per_second: (v) => `${rate(v)}/s`,
  ratio: humanizePercentage,
  requests_per_second: (v) => `${rate(v)}/s`,
  score: (v) => (Number.isInteger(v) ? String(v) : v.toFixed(1)),
  seconds: humanizeDuration,
  state: (v) => (v === 1 ? 'yes' : v === 0 ? 'no' : digits(v)),
};

/** A value in a unit of the query library; one that is not known, or none, is just a number. */
export function format(value: number | undefined, unit = 'count'): string {
  if (value === undefined) return nothing;
  return odd(value) ?? (withUnit[unit] ?? humanize)(value);
}

/** The unit that a metric's name ends in, as the library calls it. */
export function unitOf(expr: string): string {
  if (/^\s*(rate|irate|deriv)\s*\(/.test(expr) || /\brate\s*\(/.test(expr)) {
    if (/_bytes(_total)?\b/.test(expr)) return 'bytes_per_second';
    if (/cpu_seconds_total/.test(expr)) return 'cores';
    if (/_seconds_(bucket|sum)\b|quantile/.test(expr)) return 'seconds';
    return 'per_second';
  }
  if (/_ratio\b/.test(expr)) return 'ratio';
  if (/_bytes\b/.test(expr)) return 'bytes';
  if (/_timestamp_seconds\b/.test(expr)) return 'count';
  if (/_seconds\b/.test(expr)) return 'seconds';
  return 'count';
}

const lengths: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800, y: 31536000 };

/** The seconds of a duration such as 1h30m; undefined if it is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(ms|[smhdwy]))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, n, unit] of text.matchAll(/(\d+)(ms|[smhdwy])/g)) sum += Number(n) * (lengths[unit ?? ''] ?? 0);
  return sum;
}

/** Seconds as a duration of PromQL: 5400 is 1h30m. */
export function promDuration(seconds: number): string {
  let rest = Math.max(1, Math.round(seconds));
  let text = '';
  for (const unit of ['d', 'h', 'm', 's']) {
    const size = lengths[unit] ?? 1;
    const n = Math.floor(rest / size);
    if (n > 0) text += n + unit;
    rest -= n * size;
  }
  return text;
}

/** How long ago something was. */
export function ago(at: number, now = Date.now()): string {
  const seconds = (now - at) / 1000;
  if (Number.isNaN(seconds)) return nothing;
  if (seconds < 1) return 'now';
  return `${humanizeDuration(seconds < 10 ? Math.round(seconds) : Math.floor(seconds)).split(' ').slice(0, seconds < 60 ? 2 : 1).join(' ')} ago`;
}

const two = (n: number) => String(n).padStart(2, '0');

/** The local time of day, with the date if that is another one. */
export function clock(at: number, now = Date.now()): string {
  const d = new Date(at);
  if (Number.isNaN(d.getTime())) return nothing;
  const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return d.toDateString() === new Date(now).toDateString() ? time : `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${time}`;
}

/** One of it, or so many. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${humanize(n)} ${n === 1 ? one : many}`;
}
