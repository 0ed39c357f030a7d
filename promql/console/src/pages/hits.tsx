import { useEffect, useState } from 'preact/hooks';
import { plural } from '../format.ts';
import { useLive } from '../live.ts';
import { Badge, Chips, explore, Facts, Head, levelOf, List, Nothing, Pick, Row, Search, Shown, When, WorkloadLink } from '../parts.tsx';
import { href, set, useRoute } from '../route.ts';
import { feed, type Hit } from '../rows.ts';
import { nameOf, workloadOf } from '../series.ts';

const priorities = ['Emergency', 'Alert', 'Critical', 'Error', 'Warning', 'Notice', 'Informational', 'Debug'];
const filtersOf = ['rule', 'priority', 'tag', 'source', 'id', 'namespace', 'pod', 'container', 'unit'];

/** The tactics of MITRE ATT&CK that the tags name. */
export const tactics = (tags: string[]) => tags.filter((t) => /^mitre_/i.test(t)).map((t) => t.slice(6).replaceAll('_', ' '));
const techniques = (tags: string[]) => tags.filter((t) => /^T\d{4}(\.\d{3})?$/.test(t));

const shown = (value: unknown): string => (value === null || value === undefined ? '–' : typeof value === 'object' ? JSON.stringify(value) : String(value));

/** What a hit is about, if a field tells: a file or a peer, else the command. */
const subjectOf = (hit: Hit) => [hit.output_fields['fd.name'], hit.output_fields['proc.cmdline']].find((v): v is string => typeof v === 'string' && v !== '') ?? '';

/** The message of a hit, without what stands in the table of its fields anyway. */
const message = (output: string) => output.replace(/ container_id=.*$/s, '').replace(/ \((?=\w+=)[\s\S]*$/, '');

export function HitRow({ hit, open }: { hit: Hit; open?: boolean }) {
  const workload = workloadOf(hit.workload);
  return (
    <Row id={`hit-${hit.id}`} open={open} level={levelOf(hit.priority)} head={
      <>
        <When at={hit.time} />
        <Badge>{hit.priority}</Badge>
        <span class="what">{hit.rule} <small class="cut one">{subjectOf(hit)}</small></span>
        <span class="who">{hit.process ?? ''} <small>{nameOf(workload)}</small></span>
      </>
    }>
      {() => <Inside hit={hit} />}
    </Row>
  );
}

function Inside({ hit }: { hit: Hit }) {
  const workload = workloadOf(hit.workload);
  const fields = Object.entries(hit.output_fields).filter(([, v]) => v !== null);
  const absent = Object.entries(hit.output_fields).filter(([, v]) => v === null).map(([k]) => k);
  return (
    <>
      <p class="output">{message(hit.output)}</p>
      {hit.process && (
        <ol class="ancestry" aria-label="Process and its ancestors, the oldest first">
          {[...hit.ancestors].reverse().map((a, i) => <li key={i}>{a}</li>)}
          <li class="self">{hit.process}</li>
        </ol>
      )}
      <div class="two">
        <Facts of={[
          ['time', <When at={hit.time} exact />], ['workload', <WorkloadLink of={workload} />], ['source', hit.source],
          ['tactic', tactics(hit.tags).join(', ')],
          ['technique', techniques(hit.tags).join(', ')],
          ['tags', <Chips labels={Object.fromEntries(hit.tags.filter((t) => !/^mitre_/i.test(t) && !/^T\d{4}/.test(t)).map((t) => [t, ' ']))} />],
          ['id', <code>{hit.id}</code>],
        ]} />
        <Facts of={fields.map(([k, v]) => [k, <code>{shown(v)}</code>])} />
      </div>
      {absent.length > 0 && <p class="note">Without a value: {absent.join(', ')}.</p>}
      <p class="links">
        <a href={href('hits', { rule: hit.rule })}>Hits of this rule</a>
        <a href={explore(`sum(increase(yagura_rule_hits_total{rule=${JSON.stringify(hit.rule)}}[5m]))`)}>Over time</a>
        <a href={href('hits', { ...workload, priority: undefined })}>Hits of {nameOf(workload)}</a>
      </p>
    </>
  );
}

/** useFiltered narrows rows by words that are typed. */
export function useText(): [string, (text: string) => void] {
  const { params } = useRoute();
  const [text, setText] = useState(params.q ?? '');
  useEffect(() => setText(params.q ?? ''), [params.q]);
  return [text, (q) => { setText(q); set({ q }); }];
}

/** What filters of the address are in force, each with a way to be rid of it. */
export function InForce({ names }: { names: string[] }) {
  const { params } = useRoute();
  const given = names.filter((n) => params[n]);
  if (given.length === 0) return null;
  return <p class="inforce">{given.map((n) => <button type="button" key={n} onClick={() => set({ [n]: undefined })} aria-label={`Show also others than ${n} ${params[n]}`}><i>{n}</i>{params[n]}<span aria-hidden="true"> ×</span></button>)}</p>;
}

export function Hits() {
  const { params } = useRoute();
  const [text, setText] = useText();
  const filters = Object.fromEntries(filtersOf.filter((f) => params[f]).map((f) => [f, params[f] ?? '']));
  const live = useLive(`hits ${JSON.stringify(filters)}`, (signal) => feed<Hit>('api/yagura/hits', filters).read(signal), 3);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = (h: Hit) => {
    const all = `${h.rule} ${h.output} ${h.process ?? ''} ${h.ancestors.join(' ')} ${h.tags.join(' ')} ${nameOf(workloadOf(h.workload))}`.toLowerCase();
    return words.every((w) => all.includes(w));
  };
  return (
    <>
      <Head title="Hits" note="What detection rules found, the latest first, as it happens. The last 1000 are kept; the series count all.">
        <Search label="Find in rules, processes, tags" value={text} onInput={setText} />
        <Pick label="Priority" value={params.priority ?? ''} options={[['', 'any'], ...priorities.map((p): [string, string] => [p, `${p} or more urgent`])]} onPick={(priority) => set({ priority })} />
      </Head>
      <InForce names={filtersOf.filter((f) => f !== 'priority')} />
      <Shown live={live} empty={(rows) => rows.length === 0 && <Nothing>{Object.keys(filters).length > 0 ? 'No hit that is kept is like that.' : 'No rule was hit since Yagura started.'} <a href={href('explore', { expr: 'sum by (rule) (increase(yagura_rule_hits_total[1d])) > 0' })}>Hits by rule within a day</a></Nothing>}>
        {(rows) => {
          const found = rows.filter(wanted);
          return (
            <>
              <ByRule rows={found} />
              <p class="note" role="status">{found.length === rows.length ? plural(rows.length, 'hit') : `${found.length} of ${plural(rows.length, 'hit')}`}</p>
              <List rows={found} most={200}>{(h) => <HitRow key={h.id} hit={h} open={params.id === h.id} />}</List>
            </>
          );
        }}
      </Shown>
    </>
  );
}

/** ByRule counts what is listed, the most frequent first: a noisy rule is seen at once. */
function ByRule({ rows }: { rows: Hit[] }) {
  const counts = new Map<string, { n: number; priority: string }>();
  for (const h of rows) counts.set(h.rule, { n: (counts.get(h.rule)?.n ?? 0) + 1, priority: h.priority });
  const most = [...counts].sort((a, b) => b[1].n - a[1].n).slice(0, 6);
  if (most.length < 2) return null;
  const top = most[0]?.[1].n ?? 1;
  return (
    <ul class="bars" aria-label="Rules that were hit most">
      {most.map(([rule, { n, priority }]) => (
        <li key={rule}><a href={href('hits', { rule })} class={levelOf(priority)}><span class="bar" style={{ width: `${(n / top) * 100}%` }} /><span class="what">{rule}</span><b class="num">{n}</b></a></li>
      ))}
    </ul>
  );
}
