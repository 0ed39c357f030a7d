// Series as pictures want them.
import type { Labels, Series } from './api.ts';

/** A workload by its four labels, which are absent where they are empty. */
export interface Workload {
  namespace: string;
  pod: string;
  container: string;
  unit: string;
}

export function workloadOf(labels: Partial<Workload> | Labels): Workload {
  const l = labels as Labels;
  return { namespace: l.namespace ?? '', pod: l.pod ?? '', container: l.container ?? '', unit: l.unit ?? '' };
}

/** The name of a workload, as the service map has it. */
export function nameOf(w: Workload): string {
  if (w.namespace || w.pod) return [w.namespace, w.pod, w.container].filter(Boolean).join('/');
  return w.container || w.unit || 'host';
}

export const sameWorkload = (a: Workload, b: Workload) => a.namespace === b.namespace && a.pod === b.pod && a.container === b.container && a.unit === b.unit;

/** Columns of values over common times, with null where a series has none: what uPlot draws. */
export function columns(series: Series[], start: number, end: number, step: number): [number[], ...(number | null)[][]] {
  const n = Math.max(1, Math.floor((end - start) / step + 1e-6) + 1);
  const times = Array.from({ length: n }, (_, i) => start + i * step);
  const values = series.map((s) => {
    const column: (number | null)[] = new Array<number | null>(n).fill(null);
    for (const [t, v] of s.points) {
      const i = Math.round((t - start) / step);
      if (i >= 0 && i < n && Number.isFinite(v)) column[i] = v;
    }
    return column;
  });
  return [times, ...values];
}

/** exactly is a regular expression that matches a text; what the library would not let into a string matches anything there. */
export const exactly = (text: string) => text.replace(/[.\\"'`^$*+?()|[\]{}\n\r\0]/g, (c) => (c === '.' ? '[.]' : '.'));

const hidden = new Set(['__name__', 'job', 'instance']);

/** Names for series by what tells them apart: labels that all share are left out, and so is the metric's name if others are enough. */
export function names(all: Labels[]): string[] {
  const differ = (k: string) => all.some((l) => (l[k] ?? '') !== (all[0]?.[k] ?? ''));
  const keys = [...new Set(all.flatMap((l) => Object.keys(l)))].filter((k) => k !== '__name__');
  const telling = keys.filter(differ);
  const shown = telling.length > 0 ? telling : keys.filter((k) => !hidden.has(k));
  const texts = all.map((l) => shown.filter((k) => l[k]).map((k) => (shown.length === 1 ? l[k] : `${k}=${l[k]}`)).join(' '));
  const named = differ('__name__') && new Set(texts).size < texts.length;
  return all.map((l, i) => [named || !texts[i] ? l.__name__ : '', texts[i]].filter(Boolean).join(' ') || (all.length === 1 ? 'value' : 'rest'));
}

/** A series as it is written in PromQL. */
export function written(labels: Labels): string {
  const { __name__ = '', ...rest } = labels;
  const pairs = Object.entries(rest).map(([k, v]) => `${k}=${JSON.stringify(v)}`);
  return __name__ + (pairs.length > 0 || !__name__ ? `{${pairs.join(', ')}}` : '');
}

const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

/** A step that gives about so many points. */
export function stepFor(seconds: number, points = 240): number {
  return steps.find((s) => s >= seconds / points) ?? 86400 * Math.ceil(seconds / points / 86400);
}

/** A window for rate() that holds four scrapes and no less than a step. */
export function windowFor(step: number, interval = 15): number {
  return Math.max(step, interval * 4);
}

/** The end of a range, moved to a multiple of the step, so that what is asked again is mostly the same. */
export function aligned(now: number, seconds: number, step: number): { start: number; end: number } {
  const end = Math.floor(now / step) * step;
  return { start: end - Math.ceil(seconds / step) * step, end };
}
