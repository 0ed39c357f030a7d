import { prom, text } from '../api.ts';
import { format, humanizeDuration, plural } from '../format.ts';
import { useLive } from '../live.ts';
import { Badge, Chips, explore, Facts, Head, levelOf, Nothing, Panel, Pick, Row, Search, Shown, since, Table, Trouble, Waiting, When } from '../parts.tsx';
import { href, set, useRoute } from '../route.ts';
import { Words } from '../words.tsx';
import { useText } from './hits.tsx';

export interface Alert {
  labels: Record<string, string>;
  annotations: Record<string, string>;
  state: 'firing' | 'pending' | 'inactive';
  activeAt?: string;
  keepFiringSince?: string;
  value: string;
}

interface Rule {
  type: 'alerting' | 'recording';
  name: string;
  query: string;
  duration?: number;
  keepFiringFor?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  alerts?: Alert[];
  state?: string;
  health: string;
  lastError?: string;
  evaluationTime: number;
  lastEvaluation: string;
}

interface Group {
  name: string;
  file: string;
  interval: number;
  rules: Rule[];
  evaluationTime: number;
  lastEvaluation: string;
}

const states = ['firing', 'pending', 'inactive']; // one that was not evaluated yet is unknown, which is as good as inactive
const urgency = ['critical', 'warning', 'info', 'none'];
const severityOf = (r: Rule) => r.labels?.severity ?? 'none';
const order = (r: Rule) => states.indexOf(r.state ?? 'inactive') * 10 + urgency.indexOf(severityOf(r));

/** plain is a text with templates as somebody may read it before it is filled in: {{ $labels.device }} becomes device. */
export function plain(text: string): string {
  return text.replace(/\{\{[^{}]*\}\}/g, (template) => {
    if (/\$value/.test(template)) return '…';
    if (/^\{\{\s*(with|if|else|end|range)\b/.test(template)) return '';
    const label = [...template.matchAll(/\$labels\.(\w+)/g)].at(-1)?.[1];
    return label ? label.toUpperCase() : '';
  }).replace(/\s+/g, ' ').replace(/^\/+/, '').trim();
}

/** firstSeen is when the oldest of a rule's alerts began. */
const firstSeen = (r: Rule) => (r.alerts ?? []).map((a) => a.activeAt ?? '').filter(Boolean).sort()[0];

export function Alerts() {
  const { params } = useRoute();
  const [words, setWords] = useText();
  const live = useLive('rules', async (s) => (await prom<{ groups: Group[] }>('rules', {}, s)).data.groups, 10);
  const managers = useLive('alertmanagers', async (s) => (await prom<{ activeAlertmanagers: { url: string }[]; droppedAlertmanagers: { url: string }[] }>('alertmanagers', {}, s)).data, 30);
  const wanted = (r: Rule) => (!params.severity || severityOf(r) === params.severity) && (!params.state || r.state === params.state)
    && words.toLowerCase().split(/\s+/).every((w) => `${r.name} ${JSON.stringify(r.labels)} ${r.annotations?.summary ?? ''} ${JSON.stringify(r.alerts?.map((a) => a.labels) ?? '')}`.toLowerCase().includes(w));
  return (
    <>
      <Head title="Alerts" note="What the rules say now. A rule is pending while its condition holds, but not yet for long enough.">
        <Search label="Find an alert" value={words} onInput={setWords} />
        <Pick label="State" value={params.state ?? ''} options={[['', 'any'], ...states.map((s): [string, string] => [s, s])]} onPick={(state) => set({ state })} />
        <Pick label="Severity" value={params.severity ?? ''} options={[['', 'any'], ...urgency.map((s): [string, string] => [s, s])]} onPick={(severity) => set({ severity })} />
      </Head>
      <Shown live={live} empty={(groups) => groups.length === 0 && <Nothing>No rules are loaded. The packs of Yagura are on with the store, unless alerts.packs in the configuration names none.</Nothing>}>
        {(groups) => {
          const rules = groups.flatMap((g) => g.rules.map((r) => ({ ...r, group: g })));
          const alerting = rules.filter((r) => r.type === 'alerting').map((r) => ({ ...r, state: states.includes(r.state ?? '') ? r.state : 'inactive' }));
          const shown = alerting.filter(wanted).sort((a, b) => order(a) - order(b) || a.name.localeCompare(b.name));
          const ill = rules.filter((r) => r.health === 'err');
          const active = shown.filter((r) => r.state !== 'inactive');
          const quiet = shown.filter((r) => r.state === 'inactive');
          return (
            <>
              <p class="tally">{states.map((s) => <button type="button" key={s} aria-pressed={params.state === s} class={s === 'inactive' ? 'ok' : levelOf(s)} onClick={() => set({ state: params.state === s ? undefined : s })}><b class="num">{alerting.filter((r) => r.state === s).length}</b> {s}</button>)}</p>
              {ill.length > 0 && <Trouble error={{ message: `${plural(ill.length, 'rule')} cannot be evaluated: ${ill[0]?.name}: ${ill[0]?.lastError}` }} />}
              {active.length === 0 && (!params.state || params.state !== 'inactive') && <Nothing>No alert {params.severity || words || params.state ? 'like that ' : ''}is active.</Nothing>}
              <div class="list">{active.map((r) => <RuleRow key={r.group.name + r.name + severityOf(r)} rule={r} group={r.group} open={params.alert === r.name} />)}</div>
              {quiet.length > 0 && (
                <Row head={<><b class="what">Quiet</b><span class="who">{plural(quiet.length, 'rule')}</span></>} open={quiet.length <= 20}>
                  {() => <div class="list">{quiet.map((r) => <RuleRow key={r.group.name + r.name + severityOf(r)} rule={r} group={r.group} open={params.alert === r.name} />)}</div>}
                </Row>
              )}
            </>
          );
        }}
      </Shown>
      <div class="columns">
        <Panel title="Alertmanagers">
          <Shown live={managers} empty={(m) => m.activeAlertmanagers.length === 0 && <Nothing>None: nobody is told of alerts but who looks here. Name one in the configuration under prometheus.</Nothing>}>
            {(m) => <ul class="brief">{m.activeAlertmanagers.map((a) => <li key={a.url}><Badge level="ok">told</Badge><span class="what">{a.url}</span></li>)}{m.droppedAlertmanagers.map((a) => <li key={a.url}><Badge level="off">dropped</Badge><span class="what">{a.url}</span></li>)}</ul>}
          </Shown>
        </Panel>
        <Panel title="Groups">
          <Shown live={live}>
            {(groups) => (
              <Table rows={groups} by="-Took" most={8} keyOf={(g) => g.file + g.name} label="Groups of rules" columns={[
                { name: 'Group', cell: (g) => <span title={g.file}>{g.name}</span>, sort: (g) => g.name },
                { name: 'Rules', num: true, cell: (g) => g.rules.length, sort: (g) => g.rules.length },
                { name: 'Every', num: true, cell: (g) => humanizeDuration(g.interval), sort: (g) => g.interval },
                { name: 'Took', num: true, cell: (g) => (g.evaluationTime > 0 ? format(g.evaluationTime, 'seconds') : 'not yet'), sort: (g) => g.evaluationTime },
              ]} />
            )}
          </Shown>
        </Panel>
      </div>
    </>
  );
}

function RuleRow({ rule: r, group, open }: { rule: Rule; group: Group; open: boolean }) {
  const active = (r.alerts ?? []).filter((a) => a.state !== 'inactive');
  const began = firstSeen(r);
  const severity = severityOf(r);
  const one = active[0];
  return (
    <Row id={`alert-${r.name}`} open={open} level={r.state === 'firing' ? levelOf(severity) : r.state === 'pending' ? 'note' : 'off'} head={
      <>
        <Badge level={r.state === 'firing' ? levelOf(severity) : 'off'}>{severity}</Badge>
        <span class="what"><b>{r.name}</b> {active.length <= 1 ? (one?.annotations.summary ?? <small>{plain(r.annotations?.summary ?? '')}</small>) : plural(active.length, 'alert')}</span>
        <span class="who">{r.state !== 'inactive' && `${r.state} `}{began && <>for {since(began)}</>} <small>{r.labels?.component}</small></span>
      </>
    }>
      {() => (
        <>
          {active.map((a, i) => (
            <div class="alert" key={i}>
              <p><Badge level={a.state === 'firing' ? levelOf(a.labels.severity ?? '') : 'off'}>{a.state}</Badge> {a.annotations.summary}</p>
              {a.annotations.description && <p class="output">{a.annotations.description}</p>}
              <Facts of={[['value', <span class="num">{format(Number(a.value))}</span>], ['since', a.activeAt && <When at={a.activeAt} />], ['labels', <Chips labels={a.labels} leave={['alertname', 'severity']} />]]} />
            </div>
          ))}
          {active.length === 0 && r.annotations?.description && <p class="output">{plain(r.annotations.description)}</p>}
          <div class="block"><pre tabIndex={0}><code>{r.query}</code></pre><a href={explore(r.query)}>Explore this</a></div>
          <Facts of={[['group', group.name], ['for', r.duration ? humanizeDuration(r.duration) : 'at once'], ['keeps firing', r.keepFiringFor ? humanizeDuration(r.keepFiringFor) : ''], ['evaluated', <><When at={r.lastEvaluation} />, in {format(r.evaluationTime, 'seconds')}</>], ['error', r.lastError]]} />
          <Runbook name={r.name} url={r.annotations?.runbook_url} />
          <p class="links"><a href={href('explore', { expr: `ALERTS{alertname="${r.name}"}` })}>When it fired</a></p>
        </>
      )}
    </Row>
  );
}

function Runbook({ name, url }: { name: string; url?: string }) {
  const live = useLive(`runbook ${name}`, (s) => text(`api/yagura/runbooks/${encodeURIComponent(name)}`, s), 0);
  if (live.data === undefined && !live.error) return <Waiting />;
  if (live.data === undefined) return url && /^https?:/.test(url) ? <p class="links"><a href={url} rel="noreferrer" target="_blank">Runbook</a></p> : <p class="note">There is no runbook for it.</p>;
  return <article class="runbook" aria-label={`Runbook of ${name}`}><Words text={live.data.replace(/^#+ .*\n/, '')} /></article>;
}
