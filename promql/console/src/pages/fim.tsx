import type { ComponentChildren } from 'preact';
import { format, plural } from '../format.ts';
import { useLive } from '../live.ts';
import { Badge, Facts, Head, levelOf, List, Nothing, Pick, Row, Search, Shown, When, WorkloadLink } from '../parts.tsx';
import { set, useRoute } from '../route.ts';
import { type Change, feed, type FileState } from '../rows.ts';
import { nameOf, workloadOf } from '../series.ts';
import { InForce, useText } from './hits.tsx';

const kinds = ['created', 'deleted', 'renamed', 'content', 'mode', 'owner', 'xattrs', 'acl', 'links', 'flags', 'mounted', 'unmounted'];
const filtersOf = ['watch', 'kind', 'actor', 'expected', 'path', 'id', 'namespace', 'pod', 'container', 'unit'];

export function ChangeRow({ change, open }: { change: Change; open?: boolean }) {
  return (
    <Row id={`change-${change.id}`} open={open} level={change.expected ? 'ok' : levelOf(change.severity)} head={
      <>
        <When at={change.time} />
        <Badge level={change.expected ? 'ok' : levelOf(change.severity)}>{change.expected ? 'expected' : change.severity}</Badge>
        <span class="what"><code>{change.path}</code> <small>{change.kinds.join(', ')}</small></span>
        <span class="who">{change.process?.name ?? change.actor} <small>{change.watches.join(', ')}</small></span>
      </>
    }>
      {() => <Inside change={change} />}
    </Row>
  );
}

const facets: [string, (f: FileState) => string][] = [
  ['type', (f) => f.type], ['mode', (f) => f.mode], ['owner', (f) => `${f.uid}:${f.gid}`], ['size', (f) => `${format(f.size, 'bytes')} (${f.size})`],
  ['modified', (f) => new Date(f.modified).toLocaleString()], ['links', (f) => String(f.links)], ['inode', (f) => String(f.inode)], ['target', (f) => f.target ?? ''],
  ['flags', (f) => (f.flags ?? []).join(' ')], ['attributes', (f) => (f.xattrs ?? []).join(' ')], ['sha256', (f) => f.sha256 ?? ''], ['unread', (f) => f.unreadable ?? ''],
];

function Inside({ change }: { change: Change }) {
  const { before, after, process } = change;
  const rows = facets.map(([name, of]): [string, string, string] => [name, before ? of(before) : '', after ? of(after) : '']).filter(([, b, a]) => b || a);
  return (
    <>
      <p class="output">{change.expected ? 'Expected: ' : 'Unexpected: '}{change.why}.</p>
      {process && (
        <>
          <ol class="ancestry" aria-label="Process and its ancestors, the oldest first">
            {[...process.ancestors].reverse().map((a, i) => <li key={i}>{a}</li>)}
            <li class="self">{process.exe || process.name}</li>
          </ol>
          <pre class="command" tabIndex={0}>{process.command.join(' ')}</pre>
        </>
      )}
      <div class="two">
        <Facts of={[
          ['time', <When at={change.time} exact />], ['path', <code>{change.path}</code>], ['was called', change.from && <code>{change.from}</code>], ['in container', change.path_container],
          ['who', change.actor], ['workload', <WorkloadLink of={workloadOf(change.workload)} />],
          ['process', process && `${process.name} (${process.pid}), uid ${process.uid}${process.euid !== process.uid ? ` as ${process.euid}` : ''}${process.login_uid !== undefined ? `, logged in as ${process.login_uid}` : ''}`],
          ['known by', change.confidence], ['watched as', change.watches.join(', ')], ['id', <code>{change.id}</code>],
        ]} />
        <div class="scroll" tabIndex={0}>
          <table class="compare" aria-label="Before and after">
            <thead><tr><th scope="col" /><th scope="col">before</th><th scope="col">after</th></tr></thead>
            <tbody>{rows.map(([name, b, a]) => <tr key={name} class={before && after && a !== b ? 'differs' : ''}><th scope="row">{name}</th><td><code>{before ? b : '–'}</code></td><td><code>{after ? a : '–'}</code></td></tr>)}</tbody>
          </table>
        </div>
      </div>
      {change.diff && <Diff text={change.diff} />}
    </>
  );
}

/** Diff colors the lines of a unified diff; the signs at their beginnings stay. */
export function Diff({ text }: { text: string }) {
  const line = (l: string, i: number): ComponentChildren => {
    const kind = /^(---|\+\+\+|@@)/.test(l) ? 'at' : l.startsWith('+') ? 'plus' : l.startsWith('-') ? 'minus' : '';
    return <span key={i} class={kind}>{l}{'\n'}</span>;
  };
  return <pre class="diff" tabIndex={0} aria-label="What has changed in it">{text.replace(/\n$/, '').split('\n').map(line)}</pre>;
}

export function Fim() {
  const { params } = useRoute();
  const [text, setText] = useText();
  const filters = Object.fromEntries(filtersOf.filter((f) => params[f]).map((f) => [f, params[f] ?? '']));
  const live = useLive(`fim ${JSON.stringify(filters)}`, (signal) => feed<Change>('api/yagura/fim', filters).read(signal), 3);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = (c: Change) => {
    const all = `${c.path} ${c.from ?? ''} ${c.kinds.join(' ')} ${c.watches.join(' ')} ${c.actor} ${c.why} ${c.process?.exe ?? ''} ${c.process?.command.join(' ') ?? ''} ${nameOf(workloadOf(c.workload))}`.toLowerCase();
    return words.every((w) => all.includes(w));
  };
  return (
    <>
      <Head title="Files" note="Changes of watched files: who made them, what was before and after, and whether something accounts for them.">
        <Search label="Find in paths, processes, watches" value={text} onInput={setText} />
        <Pick label="Expected" value={params.expected ?? ''} options={[['', 'both'], ['false', 'unexpected'], ['true', 'expected']]} onPick={(expected) => set({ expected })} />
        <Pick label="Kind" value={params.kind ?? ''} options={[['', 'any'], ...kinds.map((k): [string, string] => [k, k])]} onPick={(kind) => set({ kind })} />
      </Head>
      <InForce names={filtersOf.filter((f) => f !== 'expected' && f !== 'kind')} />
      <Shown live={live} empty={(rows) => rows.length === 0 && <Nothing>{Object.keys(filters).length > 0 ? 'No change that is kept is like that.' : 'No watched file changed since Yagura started. The first look builds the baseline; what differs from it is told from then on.'}</Nothing>}>
        {(rows) => {
          const found = rows.filter(wanted);
          return (
            <>
              <p class="note" role="status">{found.length === rows.length ? plural(rows.length, 'change') : `${found.length} of ${plural(rows.length, 'change')}`}, {found.filter((c) => !c.expected).length} unexpected</p>
              <List rows={found} most={200}>{(c) => <ChangeRow key={c.id} change={c} open={params.id === c.id} />}</List>
            </>
          );
        }}
      </Shown>
    </>
  );
}
