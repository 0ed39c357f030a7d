import { every } from '../api.ts';
import { digits, format, plural } from '../format.ts';
import { useLive } from '../live.ts';
import { Badge, Facts, Head, type Level, levelOf, List, Nothing, Panel, Pick, Row, Search, Shown, When } from '../parts.tsx';
import { set, useRoute } from '../route.ts';
import type { Verdict } from '../rows.ts';
import { useText } from './hits.tsx';

const statuses = ['fail', 'error', 'manual', 'pass', 'not_applicable'];
const severities = ['critical', 'high', 'medium', 'low'];
const statusLevel: Record<string, Level> = { fail: 'crit', error: 'warn', manual: 'note', pass: 'ok', not_applicable: 'off' };
const statusName = (s: string) => s.replace('_', ' ');
const allFrameworks = 'every framework';

// What a check counts in a score, as rules/POSTURE.md has it.
const weights: Record<string, number> = { critical: 10, high: 5, medium: 3, low: 1 };

/** score is the weight of what passes, of what passes or fails; undefined if nothing was assessed. */
export function score(verdicts: Verdict[]): number | undefined {
  let [passed, assessed] = [0, 0];
  for (const v of verdicts) {
    const weight = weights[v.severity] ?? 0;
    if (v.status === 'pass') passed += weight;
    if (v.status === 'pass' || v.status === 'fail') assessed += weight;
  }
  return assessed > 0 ? (100 * passed) / assessed : undefined;
}

/** A check once, with all its controls of the framework. */
export interface Check extends Verdict {
  controls: string[];
}

/** checksOf makes one of the rows that one check has for several controls. */
export function checksOf(rows: Verdict[]): Check[] {
  const checks = new Map<string, Check>();
  for (const row of rows) {
    const known = checks.get(row.check);
    const control = row.control && `${row.framework} ${row.control}`;
    if (known) known.controls.push(control);
    else checks.set(row.check, { ...row, controls: control ? [control] : [] });
  }
  return [...checks.values()];
}

/** The section of a control: what is before its first dot, or the family of AC-3. */
export const sectionOf = (control: string) => /^(\d+|[A-Z]+\.?\d*|[A-Z]{2})(?=[.\-(]|$)/i.exec(control)?.[0] ?? control;

const byNumber = (a: string, b: string) => a.localeCompare(b, undefined, { numeric: true });
const rank = (v: Verdict) => statuses.indexOf(v.status) * 10 + severities.indexOf(v.severity);

export function Posture() {
  const { params } = useRoute();
  const [text, setText] = useText();
  // All rows are read once a minute: frameworks, sections and filters then answer at once.
  const live = useLive('posture', (s) => every<Verdict>('api/yagura/posture', {}, s, 12), 60);
  return (
    <Shown live={live} empty={(rows) => rows.length === 0 && <><Head title="Posture" /><Nothing>The machine has not been judged yet: the first run begins ten seconds after the start. If this stays, the collector posture is off.</Nothing></>}>
      {(rows) => <Judged rows={rows} params={params} text={text} setText={setText} />}
    </Shown>
  );
}

function Judged({ rows, params, text, setText }: { rows: Verdict[]; params: Record<string, string>; text: string; setText: (text: string) => void }) {
  const frameworks = [...new Set(rows.map((r) => r.framework))].filter(Boolean).sort(byNumber);
  const scored = frameworks.map((f) => ({ framework: f, score: score(rows.filter((r) => r.framework === f)), failing: rows.filter((r) => r.framework === f && r.status === 'fail').length }));
  const cis = scored.filter((f) => f.framework.startsWith('cis_')).sort((a, b) => b.failing - a.failing)[0]?.framework;
  const framework = params.framework ?? cis ?? frameworks[0] ?? allFrameworks;
  const mine = framework === allFrameworks ? rows : rows.filter((r) => r.framework === framework);
  const sections = framework === allFrameworks ? [] : [...new Set(mine.map((r) => sectionOf(r.control)))].sort(byNumber);
  const status = params.status ?? 'fail';
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = (v: Verdict) => (status === 'any' || v.status === status) && (!params.severity || v.severity === params.severity) && (!params.section || sectionOf(v.control) === params.section)
    && (!params.check || v.check === params.check) && words.every((w) => `${v.check} ${v.title} ${v.control} ${v.risk} ${v.remediation} ${v.objects.map((o) => o.subject).join(' ')}`.toLowerCase().includes(w));
  const all = checksOf(mine);
  const found = checksOf(mine.filter(wanted)).sort((a, b) => rank(a) - rank(b) || byNumber(a.controls[0] ?? '', b.controls[0] ?? ''));
  const total = score(mine);
  const count = (s: string) => all.filter((c) => c.status === s).length;
  return (
    <>
      <Head title="Posture" note={<>How well this machine is configured, judged <When at={rows[0]?.time ?? ''} />. No result is a certification of anything.</>}>
        <Search label="Find in checks and facts" value={text} onInput={setText} />
        <Pick label="Framework" value={framework} options={[...scored.map((f): [string, string] => [f.framework, `${f.framework}${f.score === undefined ? '' : `: ${format(f.score, 'score')}`}`]), [allFrameworks, allFrameworks]]} onPick={(f) => set({ framework: f, section: undefined })} />
        <Pick label="Status" value={status} options={[...statuses.map((s): [string, string] => [s, statusName(s)]), ['any', 'any']]} onPick={(s) => set({ status: s })} />
        <Pick label="Severity" value={params.severity ?? ''} options={[['', 'any'], ...severities.map((s): [string, string] => [s, s])]} onPick={(severity) => set({ severity })} />
      </Head>
      <Panel title={framework} wide aside={total === undefined ? undefined : <b class="num big">{format(total, 'score')}<small> of 100</small></b>}>
        <p class="tally">{statuses.map((s) => <button type="button" key={s} aria-pressed={status === s} onClick={() => set({ status: s })} class={statusLevel[s]}><b class="num">{count(s)}</b> {statusName(s)}</button>)}</p>
        {sections.length > 1 && (
          <ul class="sections" aria-label="Sections">
            {sections.map((s) => {
              const inside = mine.filter((r) => sectionOf(r.control) === s);
              const value = score(inside);
              const failing = new Set(inside.filter((r) => r.status === 'fail').map((r) => r.check)).size;
              return (
                <li key={s}>
                  <button type="button" aria-pressed={params.section === s} onClick={() => set({ section: params.section === s ? undefined : s })}>
                    <span class="what">{s}</span>
                    <span class="meter wide" role="img" aria-label={value === undefined ? 'not assessed' : `score ${digits(value)}`}><span class={value === undefined ? '' : value >= 80 ? 'ok' : value >= 50 ? 'warn' : 'crit'} style={{ width: `${value ?? 0}%` }} /></span>
                    <span class="num">{value === undefined ? '–' : Math.round(value)}</span>
                    <small class="num">{failing > 0 ? `${failing} fail` : ''}</small>
                  </button>
                </li>
              );
            })}
          </ul>
        )}
      </Panel>
      <p class="note" role="status">{plural(found.length, 'check')}{params.section ? ` of section ${params.section}` : ''}{params.check ? ` called ${params.check}` : ''} {(params.section || params.check) && <button type="button" class="plain" onClick={() => set({ section: undefined, check: undefined })}>Show all</button>}</p>
      {found.length === 0 && <Nothing>No check is like that.</Nothing>}
      <List rows={found} most={100}>{(c) => <CheckRow key={c.check} check={c} open={params.check === c.check} framework={framework} />}</List>
    </>
  );
}

function CheckRow({ check: c, open, framework }: { check: Check; open: boolean; framework: string }) {
  const controls = framework === allFrameworks ? c.controls : c.controls.map((control) => control.replace(`${framework} `, ''));
  return (
    <Row open={open} level={c.status === 'fail' ? levelOf(c.severity) : statusLevel[c.status]} head={
      <>
        <Badge level={c.status === 'fail' ? levelOf(c.severity) : statusLevel[c.status]}>{c.status === 'fail' ? c.severity : statusName(c.status)}</Badge>
        <span class="what">{c.title}</span>
        <span class="who"><small>{controls.slice(0, 3).join(', ')}{controls.length > 3 ? ', …' : ''}</small>{c.failing > 0 && <> {plural(c.failing, 'object')}</>}</span>
      </>
    }>
      {() => (
        <>
          {c.reason && <p class="output">{c.reason}</p>}
          <p class="output">{c.risk}</p>
          {c.objects.length > 0 && (
            <div class="scroll" tabIndex={0}>
              <table aria-label="What fails">
                <thead><tr><th scope="col">Object</th><th scope="col">Is</th><th scope="col">Should be</th></tr></thead>
                <tbody>
                  {c.objects.map((o, i) => (
                    <tr key={i}>
                      <td><code>{o.subject}</code>{o.source && <small> {o.source}</small>}</td>
                      <td>{o.error ?? Object.entries(o.fact ?? {}).map(([k, v]) => <div key={k}><code>{k} = {typeof v === 'string' ? v : JSON.stringify(v)}</code></div>)}</td>
                      <td><code>{o.expected}</code></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
          {c.failing > c.objects.length && <p class="note">The first {c.objects.length} of {c.failing} objects.</p>}
          {c.remediation && <><h3>To mend it</h3><pre tabIndex={0}>{c.remediation}</pre></>}
          <Facts of={[['check', <code>{c.check}</code>], ['severity', c.severity], ['controls', controls.join(', ')], ['waived', c.waived > 0 ? plural(c.waived, 'object') : ''],
            ['read more', c.references.length > 0 && c.references.map((r) => <div key={r}>{/^https?:\/\//.test(r) ? <a href={r} rel="noreferrer" target="_blank">{r}</a> : r}</div>)]]} />
        </>
      )}
    </Row>
  );
}
