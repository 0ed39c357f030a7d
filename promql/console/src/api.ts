// Everything that the console asks of the program: Prometheus' API below api/v1, and Yagura's own below api/yagura.
// Addresses are relative, so that a proxy may put the console below any path.

/** Why a request failed, by what can be done about it. */
export type Kind = 'unreachable' | 'missing' | 'denied' | 'refused' | 'failed';

export class Failure extends Error {
  readonly kind: Kind;
  readonly path: string;

  constructor(kind: Kind, path: string, message: string) {
    super(message);
    this.kind = kind;
    this.path = path;
  }

  /** What somebody at the screen can do. */
  get advice(): string {
    switch (this.kind) {
      case 'unreachable':
        return 'Is Yagura running? This page asks again by itself.';
      case 'missing':
        return this.path.startsWith('api/v1')
          ? 'The store is off: start Yagura with --store.path=DIRECTORY.'
          : 'This Yagura has no such endpoint, or the collector behind it is off.';
      case 'denied':
        return 'Sign in again: reload the page.';
      case 'refused':
        return 'The request was understood and refused, for the reason above.';
      case 'failed':
        return 'The log of Yagura may say more.';
    }
  }
}

/** One page of rows of Yagura's own API. */
export interface Page<T> {
  data: T[];
  next: string;
}

type Params = Record<string, string | number | undefined>;

function search(params: Params): string {
  const given = Object.entries(params).filter(([, v]) => v !== undefined && v !== '');
  return new URLSearchParams(given.map(([k, v]): [string, string] => [k, String(v)])).toString();
}

async function answer(path: string, init: RequestInit): Promise<Response> {
  const bare = path.split('?')[0] ?? path;
  let response: Response;
  try {
    response = await fetch(path, { cache: 'no-store', credentials: 'same-origin', ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Failure('unreachable', bare, 'Yagura does not answer.');
  }
  if (response.ok) return response;
  const text = (await response.text()).slice(0, 2000);
  let said = '';
  try {
    said = (JSON.parse(text) as { error?: string }).error ?? '';
  } catch {
    said = text.trim().split('\n')[0] ?? '';
  }
  const status = response.status;
  const kind: Kind = status === 404 ? 'missing' : status === 401 || status === 403 ? 'denied' : status < 500 && status !== 429 ? 'refused' : 'failed';
  throw new Failure(kind, bare, kind === 'missing' ? `${bare} is not there.` : said || `${bare} answered ${status}.`);
}

/** get asks for JSON. */
export async function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  const query = search(params);
  const response = await answer(query ? `${path}?${query}` : path, { signal });
  return (await response.json()) as T;
}

/** text asks for a text, such as a runbook. */
export async function text(path: string, signal?: AbortSignal): Promise<string> {
  return (await answer(path, { signal })).text();
}

export type Labels = Record<string, string>;

/** A sample is one value of one series. */
export interface Sample {
  labels: Labels;
  value: number;
  histogram?: Histogram;
}

/** A native histogram: [how the bounds belong, lower, upper, count] each. */
export interface Histogram {
  count: string;
  sum: string;
  buckets?: [number, string, string, string][];
}

/** A series is its values over time, in seconds. */
export interface Series {
  labels: Labels;
  points: [number, number][];
}

interface Envelope<T> {
  status: string;
  data: T;
  warnings?: string[];
  infos?: string[];
}

interface Result {
  resultType: 'vector' | 'matrix' | 'scalar' | 'string';
  result: unknown;
}

/** What came of a query, with what Prometheus remarks on it. */
export interface Answer<T> {
  type: string;
  data: T;
  remarks: string[];
}

/** prom asks Prometheus' API. Long expressions go into the body. */
export async function prom<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<Envelope<T>> {
  const body = search(params);
  const init: RequestInit = body.length > 1500
    ? { method: 'POST', body, headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, signal }
    : { signal };
  const response = await answer(init.body ? `api/v1/${path}` : `api/v1/${path}${body && `?${body}`}`, init);
  return (await response.json()) as Envelope<T>;
}

interface RawSample {
  metric: Labels;
  value?: [number, string];
  values?: [number, string][];
  histogram?: [number, Histogram];
  histograms?: [number, Histogram][];
}

const remarksOf = (e: Envelope<unknown>) => [...(e.warnings ?? []), ...(e.infos ?? [])];

/** instant evaluates an expression now, or at a time. */
export async function instant(expr: string, signal?: AbortSignal, time?: number): Promise<Answer<Sample[]>> {
  const e = await prom<Result>('query', { query: expr, time: time?.toFixed(3) }, signal);
  const { resultType, result } = e.data;
  const remarks = remarksOf(e);
  if (resultType === 'scalar' || resultType === 'string') {
    return { type: resultType, data: [{ labels: {}, value: Number((result as [number, string])[1]) }], remarks };
  }
  const data = (result as RawSample[]).map((s): Sample => ({
    labels: s.metric,
    value: Number(s.value?.[1] ?? s.values?.at(-1)?.[1] ?? NaN),
    histogram: s.histogram?.[1],
  }));
  return { type: resultType, data, remarks };
}

/** range evaluates an expression at every step from start to end, all in seconds. A native histogram shows as its count. */
export async function range(expr: string, start: number, end: number, step: number, signal?: AbortSignal): Promise<Answer<Series[]>> {
  const e = await prom<Result>('query_range', { query: expr, start: start.toFixed(3), end: end.toFixed(3), step: step.toFixed(3) }, signal);
  const data = (e.data.result as RawSample[]).map((s): Series => ({
    labels: s.metric,
    points: s.values
      ? s.values.map(([t, v]): [number, number] => [t, Number(v)])
      : (s.histograms ?? []).map(([t, h]): [number, number] => [t, Number(h.count)]),
  }));
  return { type: e.data.resultType, data, remarks: remarksOf(e) };
}

/** every fetches all pages of an endpoint, at most so many. */
export async function every<T>(path: string, params: Params, signal?: AbortSignal, pages = 6): Promise<T[]> {
  const rows: T[] = [];
  let cursor: string | undefined;
  for (let i = 0; i < pages; i++) {
    const page: Page<T> = await get(path, { limit: 1000, ...params, cursor }, signal);
    rows.push(...page.data);
    if (!page.next) break;
    cursor = page.next;
  }
  return rows;
}
