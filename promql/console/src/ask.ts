// Named queries, asked: what they answer now, or over time.
import { type Sample, type Series, instant, range } from './api.ts';
import type { Span } from './chart.tsx';
import { promDuration } from './format.ts';
import { expand, find } from './library.ts';
import { aligned, stepFor, windowFor } from './series.ts';

type Values = Record<string, string>;

/** What a query answered over time. */
export interface Ranged {
  span: Span;
  series: Series[];
  labels?: string[];
}

/** ask answers a named query as of now. */
export async function ask(name: string, values: Values, signal: AbortSignal): Promise<Sample[]> {
  return (await instant(expand(await find(name), values), signal)).data;
}

/** first is the value of the only series; undefined if there is none. */
export async function first(name: string, values: Values, signal: AbortSignal): Promise<number | undefined> {
  return (await ask(name, values, signal))[0]?.value;
}

/**
 * over answers a named query over time. Its $window, if it has one, is as long as a step, and long enough for rate(). The last step is
 * one that is over, or, current, the one that has begun: of counts, so that what has just happened is among them.
 */
export async function over(name: string, values: Values, seconds: number, signal: AbortSignal, points = 240, current = false): Promise<Ranged> {
  const step = stepFor(seconds, points);
  const span = { ...aligned(Date.now() / 1000 + (current ? step : 0), seconds, step), step };
  const query = await find(name);
  const window: Values = query.variables?.window && !values.window ? { window: promDuration(windowFor(step)) } : {};
  const answer = await range(expand(query, { ...values, ...window }), span.start, span.end, step, signal);
  return { span, series: answer.data };
}
