// The parts that pages are put together from.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useState } from 'preact/hooks';
import type { Labels } from './api.ts';
import type { Live } from './live.ts';
import { ago, clock, format, humanizeDuration, parseDuration } from './format.ts';
import { href, set, useRoute } from './route.ts';
import { nameOf, type Workload } from './series.ts';

/** How urgent something is. */
export type Level = 'crit' | 'warn' | 'note' | 'ok' | 'off';

const levels: Record<string, Level> = {
  critical: 'crit', emergency: 'crit', alert: 'crit', high: 'crit', down: 'crit', fail: 'crit', firing: 'crit',
  warning: 'warn', error: 'warn', medium: 'warn', pending: 'warn', manual: 'note',
  notice: 'note', info: 'note', informational: 'note', low: 'note', debug: 'off', none: 'off',
  pass: 'ok', up: 'ok', ok: 'ok', inactive: 'off', not_applicable: 'off', unknown: 'off',
};

export const levelOf = (name: string): Level => levels[name.toLowerCase()] ?? 'off';

export function Badge({ level, children }: { level?: Level; children: ComponentChildren }) {
  const text = typeof children === 'string' ? children : '';
  return <span class={`badge ${level ?? levelOf(text)}`}>{children}</span>;
}

export function Panel({ title, to, aside, wide, children, id }: {
  title: ComponentChildren; to?: string; aside?: ComponentChildren; wide?: boolean; children: ComponentChildren; id?: string;
}) {
  const heading = useId();
  return (
    <section class={wide ? 'panel wide' : 'panel'} aria-labelledby={heading} data-panel={id}>
      <header>
        <h2 id={heading}>{to ? <a href={to}>{title}</a> : title}</h2>
        {aside && <div class="aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}

export function Waiting() {
  return <p class="state waiting" role="status">Reading…</p>;
}

export function Nothing({ children }: { children: ComponentChildren }) {
  return <p class="state">{children}</p>;
}

export function Trouble({ error, retry }: { error: { message: string; advice?: string }; retry?: () => void }) {
  return (
    <div class="state trouble" role="alert">
      <p><strong>{error.message}</strong> {error.advice}</p>
      {retry && <button type="button" onClick={retry}>Try again</button>}
    </div>
  );
}

/** Shown is what is known of something live: it waits, tells what is wrong, or shows the data, and says when they are old. */
export function Shown<T>({ live, children, empty }: { live: Live<T>; children: (data: T) => ComponentChildren; empty?: (data: T) => ComponentChildren }) {
  const { data, error, at, retry } = live;
  if (data === undefined) return error ? <Trouble error={error} retry={retry} /> : <Waiting />;
  return (
    <>
      {error && at !== undefined && <p class="stale" role="status">As of {clock(at)}: {error.message} <button type="button" class="plain" onClick={retry}>Try again</button></p>}
      {empty?.(data) || children(data)}
    </>
  );
}

export const workloadPage = (w: Workload) => href('services', { show: '1', ...w });

export function WorkloadLink({ of }: { of: Workload }) {
  return <a class="workload" href={workloadPage(of)}>{nameOf(of)}</a>;
}

export function Chips({ labels, leave = [] }: { labels: Labels; leave?: string[] }) {
  const shown = Object.entries(labels).filter(([k, v]) => v !== '' && !leave.includes(k));
  return <span class="chips">{shown.map(([k, v]) => <span class="chip" key={k}><i>{k}</i>{v}</span>)}</span>;
}

/** When is a time, as long ago as it was; the whole of it is in the title. */
export function When({ at, exact }: { at: string | number; exact?: boolean }) {
  const ms = typeof at === 'number' ? at : Date.parse(at);
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => document.hidden || setNow(Date.now()), 5000);
    return () => clearInterval(timer);
  }, []);
  if (Number.isNaN(ms)) return <time>–</time>;
  return <time class="num" dateTime={new Date(ms).toISOString()} title={new Date(ms).toLocaleString()}>{exact ? clock(ms, now) : ago(ms, now)}</time>;
}

/** Spark draws values over time without axes; what it is about stands beside it. */
export function Spark({ values, top, label, level }: { values: (number | null)[]; top?: number; label: string; level?: Level }) {
  values = values.slice(Math.max(0, values.findIndex((v) => v !== null))); // a young store has no more
  const known = values.filter((v): v is number => v !== null);
  if (known.length < 2) return <svg class="spark" viewBox="0 0 100 24" aria-hidden="true" />;
  const most = Math.max(top ?? 0, ...known) || 1;
  const x = (i: number) => (i / (values.length - 1)) * 100;
  const y = (v: number) => 23 - (Math.max(v, 0) / most) * 21;
  let line = '';
  values.forEach((v, i) => {
    if (v !== null) line += `${line === '' || values[i - 1] === null ? 'M' : 'L'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
  });
  const first = values.findIndex((v) => v !== null);
  const last = values.length - 1 - [...values].reverse().findIndex((v) => v !== null);
  return (
    <svg class={`spark ${level ?? ''}`} viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label}>
      <path class="area" d={`${line}L${x(last).toFixed(1)} 24L${x(first).toFixed(1)} 24Z`} />
      <path class="line" d={line} />
    </svg>
  );
}

/** Meter is a share of a whole. */
export function Meter({ ratio, label }: { ratio: number | undefined; label: string }) {
  const share = Math.min(1, Math.max(0, ratio ?? 0));
  const level = share >= 0.9 ? 'crit' : share >= 0.75 ? 'warn' : 'ok';
  return (
    <span class={`meter ${level}`} role="img" aria-label={`${label}: ${format(ratio, 'ratio')}`}>
      <span style={{ width: `${share * 100}%` }} />
    </span>
  );
}

export const ranges = ['15m', '1h', '6h', '1d', '7d'];

/** What a range is where nobody chose: short while the store is young, so that graphs are not empty for the most part. */
export const usual = { range: '1h' };

/** useRange is how far back pictures go: from the address, else as last chosen. */
export function useRange(): { text: string; seconds: number } {
  const { params } = useRoute();
  let text = params.range ?? '';
  if (parseDuration(text) === undefined) text = sessionStorage.getItem('range') ?? usual.range;
  return { text, seconds: Math.min(parseDuration(text) ?? 3600, 366 * 86400) };
}

export function RangePicker() {
  const { text } = useRange();
  const pick = (range: string) => {
    sessionStorage.setItem('range', range);
    set({ range });
  };
  return (
    <div class="segments" role="group" aria-label="How far back">
      {[...new Set([...ranges, text])].sort((a, b) => (parseDuration(a) ?? 0) - (parseDuration(b) ?? 0)).map((r) => (
        <button type="button" key={r} aria-pressed={r === text} onClick={() => pick(r)}>{r}</button>
      ))}
    </div>
  );
}

/** Head is the head of a page. On a phone the menu names the page already, unless it is about one thing of many. */
export function Head({ title, note, one, children }: { title: string; note?: ComponentChildren; one?: boolean; children?: ComponentChildren }) {
  useEffect(() => {
    document.title = `${title} · Yagura`;
  }, [title]);
  return (
    <div class="head">
      <div>
        <h1 tabIndex={-1} class={one ? 'named' : undefined}>{title}</h1>
        {note && <p class="note">{note}</p>}
      </div>
      {children && <div class="tools">{children}</div>}
    </div>
  );
}

export function Search({ value, onInput, label }: { value: string; onInput: (text: string) => void; label: string }) {
  return <input type="search" data-search value={value} placeholder={label} aria-label={label} autocomplete="off" spellcheck={false} onInput={(e) => onInput(e.currentTarget.value)} />;
}

export function Pick({ label, value, options, onPick }: { label: string; value: string; options: (readonly [string, string])[]; onPick: (value: string) => void }) {
  return (
    <label class="pick">
      <span>{label}</span>
      <select value={value} onChange={(e) => onPick(e.currentTarget.value)}>
        {options.map(([v, text]) => <option key={v} value={v}>{text}</option>)}
      </select>
    </label>
  );
}

/** Row is one of a list, which opens to show more. What is inside is made when it opens for the first time. */
export function Row({ head, children, level, open, id }: { head: ComponentChildren; children: () => ComponentChildren; level?: Level; open?: boolean; id?: string }) {
  const [shown, setShown] = useState(open ?? false);
  return (
    <details class={`row ${level ?? ''}`} open={shown} id={id} onToggle={(e) => setShown(e.currentTarget.open)}>
      <summary data-row>{head}</summary>
      {shown && <div class="inside">{children()}</div>}
    </details>
  );
}

/** Facts are names and what they are. */
export function Facts({ of }: { of: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {of.filter(([, v]) => v !== undefined && v !== null && v !== '' && v !== false).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}
    </dl>
  );
}

export interface Column<T> {
  name: string;
  cell: (row: T) => ComponentChildren;
  num?: boolean;
  sort?: (row: T) => number | string;
}

/** Table sorts by the head that is pressed; on a phone every row is a card. */
export function Table<T>({ rows, columns, by, keyOf, label, most = 100 }: {
  rows: T[]; columns: Column<T>[]; by?: string; keyOf: (row: T) => string; label: string; most?: number;
}) {
  const [order, setOrder] = useState<{ name: string; up: boolean }>({ name: by?.replace(/^-/, '') ?? '', up: !by?.startsWith('-') });
  const column = columns.find((c) => c.name === order.name);
  let sorted = rows;
  if (column?.sort) {
    const value = column.sort;
    sorted = [...rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      const less = typeof x === 'string' ? x.localeCompare(String(y)) : (Number.isNaN(x) ? -Infinity : x) - (Number.isNaN(Number(y)) ? -Infinity : Number(y)) || 0;
      return order.up ? less : -less;
    });
  }
  const [all, setAll] = useState(false);
  const press = (c: Column<T>) => setOrder({ name: c.name, up: order.name === c.name ? !order.up : !c.num });
  return (
    <>
      <table class="stack" aria-label={label}>
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c.name} scope="col" class={c.num ? 'num' : ''} aria-sort={order.name === c.name ? (order.up ? 'ascending' : 'descending') : undefined}>
                {c.sort ? <button type="button" class="plain" onClick={() => press(c)}>{c.name}</button> : c.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {sorted.slice(0, all ? undefined : most).map((row) => (
            <tr key={keyOf(row)}>
              {columns.map((c) => <td key={c.name} class={c.num ? 'num' : ''} data-name={c.name}>{c.cell(row)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
      <More shown={most} of={sorted.length} all={all} onAll={() => setAll(true)} />
    </>
  );
}

function More({ shown, of, all, onAll }: { shown: number; of: number; all: boolean; onAll: () => void }) {
  if (all || of <= shown) return null;
  return <p class="state">The first {shown} of {of}. <button type="button" class="plain" onClick={onAll}>Show all</button></p>;
}

/** List is rows, of which the first are shown until all are asked for. */
export function List<T>({ rows, most, children }: { rows: T[]; most: number; children: (row: T) => ComponentChildren }) {
  const [all, setAll] = useState(false);
  return (
    <>
      <div class="list">{rows.slice(0, all ? undefined : most).map(children)}</div>
      <More shown={most} of={rows.length} all={all} onAll={() => setAll(true)} />
    </>
  );
}

export function Stat({ name, value, note, to, level, children }: {
  name: string; value: ComponentChildren; note?: ComponentChildren; to?: string; level?: Level; children?: ComponentChildren;
}) {
  const inside = (
    <>
      <span class="name">{name}</span>
      <span class="value num">{value}</span>
      {note !== undefined && <span class="note">{note}</span>}
      {children}
    </>
  );
  const kind = `stat ${level ?? ''}`;
  return to ? <a class={kind} href={to} data-row>{inside}</a> : <div class={kind}>{inside}</div>;
}

/** Name is a long name with underscores, which may be broken after each of them. */
export function Name({ of }: { of: string }) {
  return <code class="long">{of.split(/(?<=_)/).map((part, i) => [i > 0 && <wbr />, part])}</code>;
}

export function explore(expr: string): string {
  return href('explore', { expr });
}

/** Icon is one of the few pictures that stand beside words, never instead of them. */
export function Icon({ d }: { d: string }): JSX.Element {
  return <svg class="icon" viewBox="0 0 20 20" aria-hidden="true"><path d={d} /></svg>;
}

export const since = (at: string | number) => humanizeDuration(Math.max(0, (Date.now() - new Date(at).getTime()) / 1000));
