import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Failure, get, instant, type Labels, prom, range as askRange, type Sample } from '../api.ts';
import { Chart } from '../chart.tsx';
import type { Editor } from '../editor.ts';
import { explain, type Explained, type Node } from '../explain.ts';
import { clock, digits, format, plural, promDuration, unitOf } from '../format.ts';
import { expand, library, type NamedQuery, split } from '../library.ts';
import { useLive } from '../live.ts';
import { Badge, Head, levelOf, Nothing, Panel, RangePicker, Shown, useRange } from '../parts.tsx';
import { set, useRoute } from '../route.ts';
import { aligned, stepFor, written } from '../series.ts';

const tabs = [['graph', 'Graph'], ['table', 'Table'], ['explain', 'Explain']] as const;

/** A Finding of the linter. */
interface Finding {
  line: number;
  column: number;
  severity: string;
  rule: string;
  message: string;
}

const recentKey = 'recent expressions';

function recent(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(recentKey) ?? '[]');
    return Array.isArray(kept) ? kept.filter((e): e is string => typeof e === 'string').slice(0, 20) : [];
  } catch {
    return [];
  }
}

function keep(expr: string): void {
  localStorage.setItem(recentKey, JSON.stringify([expr, ...recent().filter((e) => e !== expr)].slice(0, 20)));
}

export function Explore() {
  const { params } = useRoute();
  const queries = useLive('library', () => library(), 0);
  const query = queries.data?.find((q) => q.name === params.name);
  const values = useMemo(() => Object.fromEntries(Object.keys(query?.variables ?? {}).filter((v) => params[`v.${v}`] !== undefined).map((v) => [v, params[`v.${v}`] ?? ''])), [query, JSON.stringify(params)]);
  let expr = params.expr ?? '';
  let wrong = '';
  if (query && !params.expr) {
    try {
      expr = expand(query, values);
    } catch (error) {
      wrong = error instanceof Error ? error.message : String(error);
    }
  }
  const tab = params.tab ?? 'graph';
  const run = (text: string) => {
    const trimmed = text.trim();
    if (!trimmed) return;
    keep(trimmed);
    const asNamed = query && trimmed === expr.trim();
    set(asNamed ? { tab } : { expr: trimmed, name: undefined, ...Object.fromEntries(Object.keys(params).filter((p) => p.startsWith('v.')).map((p) => [p, undefined])) }, true);
    if (trimmed === expr.trim()) window.dispatchEvent(new Event('rerun'));
  };
  const pick = (q: NamedQuery) => set({ name: q.name, expr: undefined, ...Object.fromEntries(Object.keys(params).filter((p) => p.startsWith('v.')).map((p) => [p, undefined])) }, true);
  const unit = query && !params.expr ? query.unit : unitOf(expr);
  return (
    <>
      <Head title="Explore" note="Any question in PromQL, or one of the library. The address holds the question: share it."><TimeControls /></Head>
      <div class="explore">
        <div class="work">
          <Field expr={expr} run={run} />
          {query && !params.expr && <Named query={query} values={values} wrong={wrong} />}
          {expr && !(query && !params.expr) && <Lint expr={expr} />}
          <div class="segments tabs" role="group" aria-label="How to show it">
            {tabs.map(([id, name]) => <button type="button" key={id} aria-pressed={tab === id} onClick={() => set({ tab: id === 'graph' ? undefined : id })}>{name}</button>)}
          </div>
          {expr === '' ? <Nothing>Type an expression, or take a question of the library.</Nothing>
            : tab === 'graph' ? <Graphed expr={expr} unit={unit} /> : tab === 'table' ? <Tabled expr={expr} unit={unit} /> : <Told expr={expr} />}
        </div>
        <Library live={queries} chosen={query?.name} pick={pick} run={run} />
      </div>
    </>
  );
}

function TimeControls() {
  const { params } = useRoute();
  const { seconds } = useRange();
  const end = Number(params.end);
  const fixed = params.end !== undefined && Number.isFinite(end);
  const move = (by: number) => {
    const to = Math.round((fixed ? end : Date.now() / 1000) + by * seconds);
    set({ end: to >= Date.now() / 1000 ? undefined : String(to) }, true);
  };
  return (
    <>
      <div class="segments" role="group" aria-label="When">
        <button type="button" onClick={() => move(-0.5)} aria-label="Earlier">←</button>
        <button type="button" aria-pressed={!fixed} onClick={() => set({ end: undefined }, true)}>{fixed ? `until ${clock(end * 1000)}` : 'until now'}</button>
        <button type="button" onClick={() => move(0.5)} disabled={!fixed} aria-label="Later">→</button>
      </div>
      <RangePicker />
    </>
  );
}

/** Field is the editor, or a plain field until that is loaded. */
function Field({ expr, run }: { expr: string; run: (text: string) => void }) {
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor | undefined>(undefined);
  const latest = useRef({ expr, run });
  latest.current = { expr, run };
  const [state, setState] = useState<'loading' | 'ready' | 'failed'>('loading');
  const [plain, setPlain] = useState(expr);
  useEffect(() => {
    let gone = false;
    import('../editor.ts').then(
      ({ openEditor }) => {
        if (gone || !host.current) return;
        editor.current = openEditor(host.current, latest.current.expr, (text) => latest.current.run(text));
        setState('ready');
      },
      () => setState('failed'),
    );
    return () => {
      gone = true;
      editor.current?.destroy();
      editor.current = undefined;
    };
  }, []);
  useEffect(() => {
    editor.current?.set(expr);
    setPlain(expr);
  }, [expr]);
  return (
    <div class="field">
      <div ref={host} class="editor" data-search tabIndex={-1} onFocus={() => editor.current?.focus()} hidden={state !== 'ready'} />
      {state !== 'ready' && <textarea value={plain} rows={3} aria-label="Expression" spellcheck={false} onInput={(e) => setPlain(e.currentTarget.value)} />}
      <button type="button" class="go" onClick={() => run(editor.current?.get() ?? plain)}>Run</button>
    </div>
  );
}

function Named({ query, values, wrong }: { query: NamedQuery; values: Record<string, string>; wrong: string }) {
  const variables = Object.entries(query.variables ?? {}).sort(([a], [b]) => a.localeCompare(b));
  return (
    <Panel title={query.title} wide aside={<code>{query.name}</code>}>
      <p class="output">{query.doc}</p>
      {variables.length > 0 && (
        <div class="variables">
          {variables.map(([name, v]) => {
            const inString = split(query.expr).some((p) => p.variable === name && p.quoted);
            return (
              <label key={name}>
                <span><b>{name}</b> {v.doc}</span>
                <input type="text" value={values[name] ?? v.default} inputMode={inString ? undefined : 'text'} spellcheck={false} autocomplete="off"
                  onChange={(e) => set({ [`v.${name}`]: e.currentTarget.value === v.default ? undefined : e.currentTarget.value })} />
              </label>
            );
          })}
        </div>
      )}
      {wrong && <p class="state trouble" role="alert">{wrong}</p>}
    </Panel>
  );
}

function Lint({ expr }: { expr: string }) {
  const live = useLive(`lint ${expr}`, async (s) => {
    try {
      return (await get<{ data: Finding[] }>('api/yagura/lint', { query: expr }, s)).data;
    } catch (error) {
      if (error instanceof Failure && error.kind === 'missing') return []; // there may be none
      throw error;
    }
  }, 0);
  if (!live.data || live.data.length === 0) return null;
  return (
    <ul class="lint" aria-label="What is likely to be wrong with it">
      {live.data.map((f, i) => <li key={i}><Badge level={levelOf(f.severity)}>{f.severity}</Badge> <span class="what">{f.message}</span> <small class="num">{f.line}:{f.column} {f.rule}</small></li>)}
    </ul>
  );
}

/** useAsked asks again by itself while the end is now, and when the same expression is run once more. */
function useAsked<T>(kind: string, expr: string, load: (signal: AbortSignal, end: number, seconds: number) => Promise<T>) {
  const { params } = useRoute();
  const { seconds } = useRange();
  const fixed = params.end !== undefined && Number.isFinite(Number(params.end));
  const live = useLive(`${kind} ${seconds} ${params.end ?? ''} ${expr}`, (s) => load(s, fixed ? Number(params.end) : Date.now() / 1000, seconds), fixed ? 0 : 15);
  useEffect(() => {
    window.addEventListener('rerun', live.retry);
    return () => window.removeEventListener('rerun', live.retry);
  }, [live.retry]);
  return live;
}

function Remarks({ of }: { of: string[] }) {
  if (of.length === 0) return null;
  return <ul class="lint" aria-label="Remarks of Prometheus">{of.slice(0, 5).map((r) => <li key={r}><Badge level="warn">remark</Badge> <span class="what">{r}</span></li>)}</ul>;
}

function Graphed({ expr, unit }: { expr: string; unit: string }) {
  const live = useAsked('graph', expr, async (s, end, seconds) => {
    const step = stepFor(seconds);
    const span = { ...aligned(end, seconds, step), step };
    const began = performance.now();
    const answer = await askRange(expr, span.start, span.end, step, s);
    return { ...answer, span, took: performance.now() - began };
  });
  const zoom = (a: number, b: number) => set({ range: promDuration(Math.max(30, b - a)), end: String(Math.round(b)) }, true);
  return (
    <Shown live={live} empty={(d) => d.data.length === 0 && <Nothing>No series in this time. Is the name right, and was it there then?</Nothing>}>
      {(d) => (
        <>
          <Remarks of={d.remarks} />
          <Chart series={d.data} span={d.span} unit={unit} height={320} label="Graph" onZoom={zoom} />
          <p class="note num">{plural(d.data.length, 'series', 'series')}, a point every {format(d.span.step, 'seconds')}, in {format(d.took / 1000, 'seconds')}. Drag to look closer.</p>
        </>
      )}
    </Shown>
  );
}

function Tabled({ expr, unit }: { expr: string; unit: string }) {
  const live = useAsked('table', expr, (s, end) => instant(expr, s, end));
  const [sorted, setSorted] = useState(true);
  return (
    <Shown live={live} empty={(d) => d.data.length === 0 && <Nothing>No series. Is the name right, and is it there now?</Nothing>}>
      {(d) => {
        const rows = sorted ? [...d.data].sort((a, b) => b.value - a.value) : d.data;
        return (
          <>
            <Remarks of={d.remarks} />
            <p class="note">{plural(d.data.length, 'series', 'series')}{d.type === 'matrix' && ', the last sample of each'} <button type="button" class="plain" onClick={() => setSorted(!sorted)}>{sorted ? 'in the order of the answer' : 'largest first'}</button></p>
            <div class="scroll" tabIndex={0} role="region" aria-label="Values">
              <table class="values">
                <thead><tr><th scope="col">Series</th><th scope="col" class="num">Value</th></tr></thead>
                <tbody>{rows.slice(0, 500).map((r) => <ValueRow key={written(r.labels)} row={r} unit={unit} />)}</tbody>
              </table>
            </div>
            {rows.length > 500 && <Nothing>The first 500 of {rows.length}.</Nothing>}
          </>
        );
      }}
    </Shown>
  );
}

function ValueRow({ row, unit }: { row: Sample; unit: string }) {
  const { __name__ = '', ...labels } = row.labels;
  const text = row.histogram ? `${digits(Number(row.histogram.count), 4)} observations, sum ${digits(Number(row.histogram.sum), 4)}` : format(row.value, unit);
  return (
    <tr>
      <td class="series"><b>{__name__}</b><LabelPairs labels={labels} /></td>
      <td class="num" title={String(row.value)}>{text}</td>
    </tr>
  );
}

function LabelPairs({ labels }: { labels: Labels }) {
  const pairs = Object.entries(labels);
  if (pairs.length === 0) return <>{'{}'}</>;
  return <>{'{'}{pairs.map(([k, v], i) => <span key={k}>{i > 0 && ', '}<i>{k}</i>="{v}"</span>)}{'}'}</>;
}

function Told({ expr }: { expr: string }) {
  const live = useLive(`explain ${expr}`, async (s) => {
    const [tree, { describe }] = await Promise.all([prom<Node>('parse_query', { query: expr }, s), import('../editor.ts')]);
    return explain(tree.data, describe);
  }, 0);
  return <Shown live={live}>{(root) => <ul class="tree" aria-label="What the expression does, from the outermost part inwards"><Branch node={root} /></ul>}</Shown>;
}

function Branch({ node }: { node: Explained }) {
  return (
    <li>
      <code>{node.text}</code>
      <p>{node.words}</p>
      {node.children.length > 0 && <ul>{node.children.map((c, i) => <Branch key={i} node={c} />)}</ul>}
    </li>
  );
}

function Library({ live, chosen, pick, run }: { live: ReturnType<typeof useLive<NamedQuery[]>>; chosen?: string; pick: (q: NamedQuery) => void; run: (expr: string) => void }) {
  const [text, setText] = useState('');
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const old = recent();
  return (
    <aside class="library" aria-label="Library of questions">
      <h2>Library</h2>
      <input type="search" value={text} placeholder="Find a question" aria-label="Find a question" onInput={(e) => setText(e.currentTarget.value)} />
      {old.length > 0 && words.length === 0 && (
        <details>
          <summary data-row>Asked lately <small class="num">{old.length}</small></summary>
          <ul>{old.map((e) => <li key={e}><button type="button" onClick={() => run(e)}><code>{e}</code></button></li>)}</ul>
        </details>
      )}
      <Shown live={live}>
        {(queries) => {
          const found = queries.filter((q) => words.every((w) => `${q.name} ${q.title} ${q.group} ${q.doc} ${q.expr}`.toLowerCase().includes(w)));
          const groups = [...new Set(found.map((q) => q.group))];
          if (groups.length === 0) return <Nothing>No question is like that.</Nothing>;
          return groups.map((g) => (
            <details key={g} open={words.length > 0 || found.some((q) => q.group === g && q.name === chosen)}>
              <summary data-row>{g}{'\u00a0'}<small class="num">{found.filter((q) => q.group === g).length}</small></summary>
              <ul>
                {found.filter((q) => q.group === g).map((q) => (
                  <li key={q.name}><button type="button" aria-pressed={q.name === chosen} title={q.doc} onClick={() => pick(q)}><b>{q.title}</b><small>{q.doc.split(/(?<=\.)\s/)[0]}</small></button></li>
                ))}
              </ul>
            </details>
          ));
        }}
      </Shown>
    </aside>
  );
}

