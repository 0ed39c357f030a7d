// What can be said of the console without a browser. Run by `npm test`: esbuild bundles, node tests.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explain, milliseconds, type Node, source } from './explain.ts';
import { ago, digits, format, humanize, humanize1024, humanizeDuration, humanizePercentage, parseDuration, plural, promDuration, unitOf } from './format.ts';
import { expand, misfit, type NamedQuery, split } from './library.ts';
import { LRUCache } from './lru.ts';
import { type Block, inline, markdown, safeLink } from './markdown.ts';
import { href, parseRoute } from './route.ts';
import { Feed, merge } from './rows.ts';
import { type Clock, Scheduler } from './schedule.ts';
import { aligned, columns, exactly, nameOf, names, stepFor, windowFor, workloadOf, written } from './series.ts';
import { join } from './services.ts';

function table<T>(name: string, f: (in_: T) => unknown, rows: [T, unknown][]): void {
  test(name, () => {
    for (const [given, want] of rows) assert.deepEqual(f(given), want, `of ${JSON.stringify(given)}`);
  });
}

table('numbers are humanized by thousands', humanize, [[0, '0'], [1, '1'], [999, '999'], [999.9, '1k'], [1000, '1k'], [1234567, '1.23M'], [-2500, '-2.5k'], [0.0012, '1.2m'], [0.25, '250m'], [2e-6, '2µ'], [NaN, '–'], [Infinity, '∞'], [-Infinity, '−∞'], [1e30, '1000000Y']]);
table('bytes are humanized by 1024', humanize1024, [[0, '0 '], [1000, '1000 '], [1023, '1023 '], [1024, '1 Ki'], [1536, '1.5 Ki'], [3 * 2 ** 30, '3 Gi'], [NaN, '–']]);
table('durations', humanizeDuration, [[0, '0 s'], [1, '1 s'], [0.0764, '76.4 ms'], [0.000115, '115 µs'], [3e-9, '3 ns'], [59, '59 s'], [60, '1m'], [61, '1m 1s'], [3725, '1h 2m'], [90061, '1d 1h'], [-5, '−5 s'], [86400, '1d'], [NaN, '–']]);
table('percentages', humanizePercentage, [[0, '0%'], [0.1234, '12.3%'], [1, '100%'], [0.000247, '0.025%'], [0.00001, '<0.01%'], [12.5, '1250%']]);
table('significant digits never become exponents', (v: number) => digits(v), [[999.6, '1000'], [1000, '1000'], [1.005, '1'], [0.5, '0.5'], [12345, '12345']]);
test('values take the unit of the library', () => {
  const rows: [number | undefined, string, string][] = [[1536, 'bytes', '1.5 KiB'], [0, 'bytes', '0 B'], [2 ** 20, 'bytes_per_second', '1 MiB/s'], [0.316, 'requests_per_second', '0.32/s'], [0.0001, 'per_second', '<0.001/s'], [1, 'cores', '1 core'],
    [0.0422, 'cores', '0.042 cores'], [0.5, 'ratio', '50%'], [56.24, 'score', '56.2'], [56, 'score', '56'], [1, 'state', 'yes'], [0, 'state', 'no'], [undefined, 'bytes', '–'], [1200, 'nobody knows', '1.2k'], [41.3, 'celsius', '41.3 °C'], [NaN, 'cores', '–']];
  for (const [v, unit, want] of rows) assert.equal(format(v, unit), want, `${v} ${unit}`);
});
table('units are guessed from names', unitOf, [['rate(http_x_bytes_total[5m])', 'bytes_per_second'], ['sum(rate(yagura_cpu_seconds_total[1m]))', 'cores'], ['yagura_saturation_ratio', 'ratio'], ['node_memory_MemFree_bytes', 'bytes'], ['up', 'count'], ['histogram_quantile(0.9, rate(x_seconds_bucket[5m]))', 'seconds']]);
table('durations of PromQL are read', parseDuration, [['1h30m', 5400], ['15m', 900], ['7d', 604800], ['500ms', 0.5], ['', undefined], ['5', undefined], ['m5', undefined], ['1h m', undefined]]);
table('durations of PromQL are written', promDuration, [[5400, '1h30m'], [60, '1m'], [0.2, '1s'], [90061, '1d1h1m1s']]);
test('how long ago', () => {
  const now = Date.UTC(2026, 0, 1);
  assert.equal(ago(now, now), 'now');
  assert.equal(ago(now - 5400, now), '5 s ago');
  assert.equal(ago(now - 125_000, now), '2m ago');
  assert.equal(ago(now - 90_000_000, now), '1d ago');
  assert.equal(ago(NaN, now), '–');
});
test('one hit and two hits', () => {
  assert.equal(plural(1, 'hit'), '1 hit');
  assert.equal(plural(0, 'hit'), '0 hits');
  assert.equal(plural(2, 'series', 'series'), '2 series');
});

const query = (expr: string, variables: NamedQuery['variables'] = {}): NamedQuery => ({ name: 'a_query', group: '', title: '', doc: '', unit: '', type: 'vector', variables, expr });
const window = { window: { default: '5m', doc: '' } };
test('variables are expanded, in strings and outside', () => {
  const q = query('rate(x{c=~"$c", d="${c}-1"}[$window]) # $window is not one here\n+ y{z=~"^a$"}', { ...window, c: { default: '.*', doc: '' } });
  assert.equal(expand(q), 'rate(x{c=~".*", d=".*-1"}[5m]) # $window is not one here\n+ y{z=~"^a$"}');
  assert.equal(expand(q, { c: 'web', window: '1h30m' }), 'rate(x{c=~"web", d="web-1"}[1h30m]) # $window is not one here\n+ y{z=~"^a$"}');
});
test('a value cannot leave its place', () => {
  assert.throws(() => expand(query('x{a="$a"}', { a: { default: '', doc: '' } }), { a: 'b"} or up{c="' }), /want no quote/);
  assert.throws(() => expand(query('x[$window]', window), { window: '5m]) or vector(1' }), /want a number, or a duration/);
  assert.throws(() => expand(query('x[$window]', window), { windw: '5m' }), /no variable "windw": it has window/);
  assert.throws(() => expand(query('x[$other]', window)), /\$other is not declared/);
  assert.throws(() => expand(query('x'), { constructor: '1' }), /no variable "constructor": it has none/);
  for (const bad of ['a"', "a'", 'a`', 'a\\', 'a\nb', 'a\0']) assert.ok(misfit(bad, true), bad);
  assert.equal(misfit('.*[.]service', true), undefined);
});
test('escaped quotes do not end a string', () => {
  assert.deepEqual(split('x{a="\\"$b"}').filter((p) => p.variable), [{ text: '$b', variable: 'b', quoted: true }]);
});

const kinds = (blocks: Block[]) => blocks.map((b) => b.kind).join(' ');
test('markdown has the blocks of runbooks', () => {
  assert.equal(kinds(markdown('## NodeDown\n\nIt is *down*.\nReally.\n\n- a\n- b\n  more\n\n1. one\n2. two\n\n```promql\nup == 0\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> q\n\n---\n')), 'heading paragraph list list code table quote rule');
});
test('lists keep their items and what is inside', () => {
  const [list] = markdown('- a\n- b\n\n      code\n- c\n  - d');
  assert.equal(list?.kind === 'list' && list.items.length, 3);
  assert.equal(list?.kind === 'list' && kinds(list.items[2] ?? []), 'paragraph list');
});
test('spans', () => {
  assert.deepEqual(inline('a `b*c` **d** _e_ snake_case_name'), [
    { kind: 'text', text: 'a ' }, { kind: 'code', text: 'b*c' }, { kind: 'text', text: ' ' }, { kind: 'strong', children: [{ kind: 'text', text: 'd' }] },
    { kind: 'text', text: ' ' }, { kind: 'em', children: [{ kind: 'text', text: 'e' }] }, { kind: 'text', text: ' snake_case_name' }]);
});
test('markup in a text stays text', () => {
  assert.deepEqual(inline('<img src=x onerror=alert(1)>'), [{ kind: 'text', text: '<img src=x onerror=alert(1)>' }]);
});
test('links lead to the web or nowhere', () => {
  for (const bad of ['javascript:alert(1)', 'data:text/html,x', 'JAVASCRIPT:x', '//evil', 'vbscript:x', ' https://x', 'https:']) assert.equal(safeLink(bad), undefined, bad);
  assert.equal(safeLink('https://example.org/a#b'), 'https://example.org/a#b');
  assert.deepEqual(inline('[a](javascript:alert(1))').filter((n) => n.kind === 'link'), []);
  assert.deepEqual(inline('see https://example.org/x.'), [{ kind: 'text', text: 'see ' }, { kind: 'link', to: 'https://example.org/x', children: [{ kind: 'text', text: 'https://example.org/x' }] }, { kind: 'text', text: '.' }]);
});
test('hostile markdown ends', () => {
  for (const text of ['>'.repeat(5000), '- '.repeat(3000), '**'.repeat(3000), '['.repeat(3000), '`'.repeat(3000), '_a'.repeat(2000), '|\n'.repeat(3000), '```', '\0\r\n\t']) markdown(text);
});

const selector: Node = { type: 'vectorSelector', name: 'up', matchers: [{ name: 'job', type: '=', value: 'x' }, { name: '__name__', type: '=', value: 'up' }], offset: 60000, timestamp: null };
const matrix: Node = { ...selector, type: 'matrixSelector', range: 300000, offset: 0 };
const rate: Node = { type: 'call', func: { name: 'rate' }, args: [matrix] };
test('an expression is written and told', () => {
  const tree: Node = { type: 'aggregation', op: 'topk', grouping: ['job'], without: false, param: { type: 'numberLiteral', val: '5' }, expr: rate };
  assert.equal(source(tree), 'topk by (job) (5, rate(up{job="x"}[5m]))');
  const told = explain(tree);
  assert.equal(told.words, 'Keeps the 5 largest series, for each job.');
  assert.match(told.children[0]?.words ?? '', /per second, on average of the window/);
  assert.equal(told.children[0]?.children[0]?.words, 'All samples within 5m of up where job is "x".');
});
test('selectors are told with their time', () => {
  assert.equal(source(selector), 'up{job="x"} offset 1m');
  assert.equal(explain(selector).words, 'The newest value of every series of up where job is "x", as it was 1m ago.');
});
test('comparisons and partners are told', () => {
  const left: Node = { type: 'vectorSelector', name: 'a', matchers: [] };
  const binary: Node = { type: 'binaryExpr', op: '>', bool: false, lhs: left, rhs: { type: 'numberLiteral', val: '3' }, matching: null };
  assert.equal(explain(binary).words, 'Keeps the values on the left that are greater than 3.');
  const joined: Node = { type: 'binaryExpr', op: '*', lhs: left, rhs: left, matching: { card: 'many-to-one', labels: ['pod'], on: true, include: ['image'] } };
  assert.equal(source(joined), 'a * on (pod) group_left (image) a');
  assert.equal(explain(joined).words, 'Multiplies both; partners agree on pod, several on the left may share one on the right and take its image.');
});
test('functions that are not known here are described elsewhere, and unknown nodes are told', () => {
  assert.equal(explain({ type: 'call', func: { name: 'ceil' }, args: [] }, () => 'Rounds up').words, 'Rounds up');
  assert.match(explain({ type: 'brandNew' }).words, /brandNew/);
});
table('milliseconds', milliseconds, [[0, '0s'], [90000, '1m30s'], [-3600000, '-1h'], [1500, '1s500ms'], [604800000, '7d']]);

test('routes go and come back', () => {
  const params = { expr: 'a{b="c&d#e?f"}', range: '1h' };
  assert.deepEqual(parseRoute(href('explore', params)), { page: 'explore', params });
  assert.equal(href('hits', { q: '', rule: undefined }), '#/hits');
  assert.deepEqual(parseRoute(''), { page: '', params: {} });
  assert.deepEqual(parseRoute('#/'), { page: '', params: {} });
});

test('workloads have the names of the service map', () => {
  assert.equal(nameOf(workloadOf({})), 'host');
  assert.equal(nameOf(workloadOf({ unit: 'a.service' })), 'a.service');
  assert.equal(nameOf(workloadOf({ namespace: 'shop', pod: 'web-1', container: 'web' })), 'shop/web-1/web');
});
test('a name as a regular expression matches itself and ends no string', () => {
  for (const name of ['a.service', 'run-r1+2.scope', 'dev-disk\\x2d1.swap', '(a|b)[c]{2}^$*?']) {
    assert.match(name, new RegExp(`^(?:${exactly(name)})$`), name);
    assert.equal(misfit(exactly(name), true), undefined, name);
  }
  assert.doesNotMatch('axservice', new RegExp(`^(?:${exactly('a.service')})$`));
});
test('columns have a null where a series has nothing', () => {
  assert.deepEqual(columns([{ labels: {}, points: [[10, 1], [30, 3]] }, { labels: {}, points: [[20, NaN]] }], 10, 30, 10), [[10, 20, 30], [1, null, 3], [null, null, null]]);
});
test('series are named by what tells them apart', () => {
  assert.deepEqual(names([{ __name__: 'a', job: 'x', mode: 'user' }, { __name__: 'a', job: 'x', mode: 'system' }]), ['user', 'system']);
  assert.deepEqual(names([{ __name__: 'a' }, { __name__: 'b' }]), ['a', 'b']);
  assert.deepEqual(names([{}]), ['value']);
  assert.equal(written({ __name__: 'a', b: 'c"d' }), 'a{b="c\\"d"}');
});
test('steps and windows', () => {
  assert.equal(stepFor(3600), 15);
  assert.equal(stepFor(86400 * 365), 86400 * 2);
  assert.equal(windowFor(15), 60);
  assert.equal(windowFor(300), 300);
  assert.deepEqual(aligned(1007, 100, 10), { start: 900, end: 1000 });
});
test('services are joined by their labels', () => {
  const labels = { unit: 'a.service', role: 'server', protocol: 'http' };
  const [row, ...others] = join([{ labels, value: 4 }, { labels: { role: 'client' }, value: 0 }], [{ labels, value: 1 }], { p50: [{ labels, value: 0.1 }], p95: [], p99: [] },
    [{ labels: { unit: 'a.service', resource: 'cpu' }, value: 0.2 }, { labels: { unit: 'a.service', resource: 'io' }, value: 0.7 }, { labels: { resource: 'cpu' }, value: 1 }]);
  assert.equal(others.length, 0);
  assert.equal(row?.errors, 0.25);
  assert.equal(row?.p50, 0.1);
  assert.ok(Number.isNaN(row?.p95));
  assert.deepEqual(row?.lack, { resource: 'io', ratio: 0.7 });
});

const news = (id: string, second: number) => ({ id, time: new Date(second * 1000).toISOString() });
test('news are merged, the latest first and each once', () => {
  assert.deepEqual(merge([news('b', 2), news('a', 1)], [news('c', 3), news('b', 2)]).map((r) => r.id), ['c', 'b', 'a']);
  assert.equal(merge(Array.from({ length: 1000 }, (_, i) => news(`o${i}`, i)), [news('n', 5000)]).length, 1000);
});
test('a feed asks only for what is new', async () => {
  const asked: string[] = [];
  const pages = [{ data: [news('b', 2), news('a', 1)], next: '300' }, { data: [news('c', 3), news('b', 2)], next: '' }];
  const before = globalThis.fetch;
  globalThis.fetch = (async (path: string) => {
    asked.push(path);
    return new Response(JSON.stringify(pages.shift()));
  }) as typeof fetch;
  try {
    const feed = new Feed('api/x', { rule: 'r' });
    const signal = new AbortController().signal;
    await feed.read(signal);
    assert.deepEqual((await feed.read(signal)).map((r) => r.id), ['c', 'b', 'a']);
  } finally {
    globalThis.fetch = before;
  }
  assert.deepEqual(asked.map((a) => new URLSearchParams(a.split('?')[1]).get('since')), [null, '1970-01-01T00:00:02.000Z']);
});

/** A clock that only goes on when it is told. */
function slowClock(): Clock & { pass: (ms: number) => Promise<void> } {
  let now = 0;
  let timers: { at: number; run: () => void }[] = [];
  return {
    now: () => now,
    set: (run, ms) => {
      const timer = { at: now + ms, run };
      timers.push(timer);
      return timer;
    },
    clear: (timer) => void (timers = timers.filter((t) => t !== timer)),
    pass: async (ms) => {
      const end = now + ms;
      for (;;) {
        for (let i = 0; i < 10; i++) await Promise.resolve();
        const next = timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
        if (!next) break;
        timers = timers.filter((t) => t !== next);
        now = next.at;
        next.run();
      }
      now = end;
    },
  };
}

test('the scheduler asks at once and then at its interval', async () => {
  const clock = slowClock();
  const ran: number[] = [];
  new Scheduler(clock).add(1000, async () => void ran.push(clock.now()));
  await clock.pass(3500);
  assert.deepEqual(ran, [0, 1000, 2000, 3000]);
});
test('the scheduler waits longer after each failure, and not after success', async () => {
  const clock = slowClock();
  const ran: number[] = [];
  new Scheduler(clock).add(2000, async () => {
    ran.push(clock.now());
    if (ran.length < 4) throw new Error('no');
  });
  await clock.pass(20000);
  assert.deepEqual(ran, [0, 2000, 6000, 14000, 16000, 18000, 20000]);
});
test('the scheduler does nothing while it pauses, and what is due afterwards', async () => {
  const clock = slowClock();
  let ran = 0;
  const s = new Scheduler(clock);
  s.add(1000, async () => void ran++);
  await clock.pass(500);
  s.pause();
  await clock.pass(60_000);
  assert.equal(ran, 1);
  s.resume();
  await clock.pass(0);
  assert.equal(ran, 2);
});
test('the scheduler aborts what is no longer wanted, and what takes too long', async () => {
  const clock = slowClock();
  const signals: AbortSignal[] = [];
  const s = new Scheduler(clock);
  const forever = (signal: AbortSignal) => new Promise<void>((_, reject) => {
    signals.push(signal);
    signal.addEventListener('abort', () => reject(new Error('aborted')));
  });
  const stop = s.add(1000, forever);
  await clock.pass(10);
  stop();
  assert.equal(signals[0]?.aborted, true);
  s.add(1000, forever);
  await clock.pass(30_000);
  assert.equal(signals[1]?.aborted, true);
});
test('the scheduler runs few at once, and all in the end', async () => {
  const clock = slowClock();
  const s = new Scheduler(clock);
  let [now, most, done] = [0, 0, 0];
  for (let i = 0; i < 20; i++) {
    s.add(1e9, async () => {
      most = Math.max(most, ++now);
      await new Promise<void>((resolve) => clock.set(resolve, 10));
      now--;
      done++;
    });
  }
  await clock.pass(1000);
  assert.equal(done, 20);
  assert.equal(most, 5);
});

test('the cache forgets the oldest, and what is too old', () => {
  const cache = new LRUCache<string, number>({ max: 2 });
  cache.set('a', 1).set('b', 2);
  cache.get('a');
  cache.set('c', 3);
  assert.deepEqual([cache.get('a'), cache.get('b'), cache.get('c')], [1, undefined, 3]);
  assert.equal(new LRUCache<string, number>({ ttl: -1 }).set('a', 1).get('a'), undefined);
});
