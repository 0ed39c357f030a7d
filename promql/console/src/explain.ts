// What an expression of PromQL does, in words, node by node of the tree that api/v1/parse_query answers.

export interface Node {
  type: string;
  [key: string]: unknown;
}

/** A node as it is shown: its own text, what it does, and what it does that to. */
export interface Explained {
  text: string;
  words: string;
  children: Explained[];
}

interface Matcher {
  name: string;
  type: string;
  value: string;
}

const child = (n: Node, key: string) => n[key] as Node | null | undefined;
const list = (n: Node, key: string) => (n[key] ?? []) as string[];
const quoted = (text: string) => JSON.stringify(text);

/** 90000 milliseconds are 1m30s. */
export function milliseconds(ms: number): string {
  if (ms === 0) return '0s';
  let rest = Math.abs(ms);
  let text = ms < 0 ? '-' : '';
  for (const [unit, size] of [['d', 86_400_000], ['h', 3_600_000], ['m', 60_000], ['s', 1000], ['ms', 1]] as const) {
    const n = Math.floor(rest / size);
    if (n > 0) text += n + unit;
    rest -= n * size;
  }
  return text;
}

const matchersOf = (n: Node) => ((n.matchers ?? []) as Matcher[]).filter((m) => m.name !== '__name__' || m.value !== n.name || m.type !== '=');

function when(n: Node): string {
  let text = '';
  if (n.timestamp !== null && n.timestamp !== undefined) text += ` @ ${(Number(n.timestamp) / 1000).toFixed(3)}`;
  if (n.startOrEnd) text += ` @ ${String(n.startOrEnd)}()`;
  if (n.offset) text += ` offset ${milliseconds(Number(n.offset))}`;
  return text;
}

function selector(n: Node): string {
  const matchers = matchersOf(n).map((m) => `${m.name}${m.type}${quoted(m.value)}`);
  const name = String(n.name ?? '');
  return name + (matchers.length > 0 || name === '' ? `{${matchers.join(', ')}}` : '');
}

function grouping(n: Node): string {
  const labels = list(n, 'grouping').join(', ');
  if (n.without) return ` without (${labels})`;
  return labels ? ` by (${labels})` : '';
}

interface Matching {
  card: string;
  labels: string[];
  on: boolean;
  include: string[];
}

function matchingText(n: Node): string {
  const m = n.matching as Matching | null;
  let text = n.bool ? ' bool' : '';
  if (!m) return text;
  if (m.on || m.labels.length > 0) text += ` ${m.on ? 'on' : 'ignoring'} (${m.labels.join(', ')})`;
  if (m.card === 'many-to-one') text += ` group_left (${m.include.join(', ')})`;
  if (m.card === 'one-to-many') text += ` group_right (${m.include.join(', ')})`;
  return text;
}

/** source is a node as PromQL. */
export function source(n: Node | null | undefined): string {
  if (!n) return '';
  switch (n.type) {
    case 'vectorSelector':
      return selector(n) + when(n);
    case 'matrixSelector':
      return `${selector(n)}[${milliseconds(Number(n.range))}]${when(n)}`;
    case 'subquery':
      return `${source(child(n, 'expr'))}[${milliseconds(Number(n.range))}:${n.step ? milliseconds(Number(n.step)) : ''}]${when(n)}`;
    case 'call':
      return `${(n.func as { name: string }).name}(${((n.args ?? []) as Node[]).map(source).join(', ')})`;
    case 'aggregation':
      return `${String(n.op)}${grouping(n)} (${[child(n, 'param'), child(n, 'expr')].filter(Boolean).map(source).join(', ')})`;
    case 'binaryExpr':
      return `${source(child(n, 'lhs'))} ${String(n.op)}${matchingText(n)} ${source(child(n, 'rhs'))}`;
    case 'unaryExpr':
      return `${String(n.op)}${source(child(n, 'expr'))}`;
    case 'parenExpr':
      return `(${source(child(n, 'expr'))})`;
    case 'numberLiteral':
      return String(n.val);
    case 'stringLiteral':
      return quoted(String(n.val));
    default:
      return n.type;
  }
}

const matchWords: Record<string, string> = { '=': 'is', '!=': 'is not', '=~': 'matches', '!~': 'does not match' };

function selected(n: Node): string {
  const where = matchersOf(n).map((m) => {
    if (m.value === '') return `${m.name} is ${m.type.startsWith('!') ? 'there' : 'absent'}`;
    return `${m.name} ${matchWords[m.type] ?? m.type} ${quoted(m.value)}`;
  });
  const name = String(n.name ?? '');
  return `${name || 'any metric'}${where.length > 0 ? ` where ${where.join(' and ')}` : ''}`;
}

function moment(n: Node): string {
  if (n.startOrEnd) return `, as it was at the ${String(n.startOrEnd)} of the range`;
  if (n.timestamp !== null && n.timestamp !== undefined) return `, as it was at ${new Date(Number(n.timestamp)).toISOString()}`;
  if (n.offset) return Number(n.offset) > 0 ? `, as it was ${milliseconds(Number(n.offset))} ago` : `, as it is ${milliseconds(-Number(n.offset))} later`;
  return '';
}

const aggregations: Record<string, string> = {
  sum: 'Adds up', avg: 'Takes the mean of', min: 'Takes the smallest of', max: 'Takes the largest of', count: 'Counts',
  group: 'Answers 1 for', stddev: 'Takes the standard deviation of', stdvar: 'Takes the variance of',
};
const choosing: Record<string, (k: string) => string> = {
  topk: (k) => `Keeps the ${k} largest series`,
  bottomk: (k) => `Keeps the ${k} smallest series`,
  limitk: (k) => `Keeps any ${k} series`,
  limit_ratio: (k) => `Keeps a share of ${k} of the series`,
  quantile: (k) => `Takes the ${k} quantile of the series`,
  count_values: (k) => `Counts the series by their value, which becomes the label ${k}`,
};

function aggregationWords(n: Node): string {
  const labels = list(n, 'grouping').join(', ');
  const groups = n.without
    ? `, one result for each combination of labels other than ${labels || 'none'}`
    : labels ? `, one result for each ${labels}` : ', all into one';
  const op = String(n.op);
  const choose = choosing[op];
  if (choose) {
    const chosen = choose(source(child(n, 'param')));
    return chosen + (n.without || labels ? (n.without ? `, for each combination of labels other than ${labels}` : `, for each ${labels}`) : '') + '.';
  }
  return `${aggregations[op] ?? `Aggregates by ${op}`} the series${groups}.`;
}

const arithmetic: Record<string, string> = {
  '+': 'Adds the right to the left', '-': 'Takes the right from the left', '*': 'Multiplies both', '/': 'Divides the left by the right',
  '%': 'Takes what is left of the left when it is divided by the right', '^': 'Raises the left to the power of the right', atan2: 'Takes the angle of both',
};
const comparisons: Record<string, string> = {
  '==': 'equal to', '!=': 'other than', '>': 'greater than', '<': 'less than', '>=': 'at least', '<=': 'at most',
};
const sets: Record<string, string> = {
  and: 'Keeps the series on the left that have a partner on the right',
  or: 'Takes the series on the left, and those on the right that have no partner there',
  unless: 'Keeps the series on the left that have no partner on the right',
};

function binaryWords(n: Node): string {
  const op = String(n.op);
  const m = n.matching as Matching | null;
  let pairs = '';
  if (m) {
    pairs = m.on ? `; partners agree on ${m.labels.join(', ') || 'nothing'}` : m.labels.length > 0 ? `; partners agree on all labels but ${m.labels.join(', ')}` : '; partners have the same labels';
    if (m.card === 'many-to-one') pairs += `, several on the left may share one on the right${m.include.length > 0 ? ` and take its ${m.include.join(', ')}` : ''}`;
    if (m.card === 'one-to-many') pairs += `, several on the right may share one on the left${m.include.length > 0 ? ` and take its ${m.include.join(', ')}` : ''}`;
  }
  const compared = comparisons[op];
  if (compared) {
    const right = child(n, 'rhs');
    const what = right?.type === 'numberLiteral' ? source(right) : 'the right';
    return n.bool ? `Answers 1 where the left is ${compared} ${what}, else 0${pairs}.` : `Keeps the values on the left that are ${compared} ${what}${pairs}.`;
  }
  return `${sets[op] ?? arithmetic[op] ?? op}${pairs}.`;
}

const functions: Record<string, string> = {
  rate: 'How fast each counter rises, per second, on average of the window. A restart of the counter is taken into account.',
  irate: 'How fast each counter rises, per second, between the last two samples of the window.',
  increase: 'How much each counter rose within the window. A restart of the counter is taken into account.',
  histogram_quantile: 'The value below which this share of the observations of each histogram lies.',
  histogram_count: 'How many observations each histogram has.',
  histogram_sum: 'The sum of the observations of each histogram.',
  histogram_fraction: 'The share of observations of each histogram between two values.',
  label_replace: 'Makes a label out of another one, where that matches a pattern.',
  label_join: 'Joins labels into another one.',
  absent: 'Answers 1 if there is no such series, and nothing if there is one.',
  clamp_max: 'Cuts values off above a limit.',
  clamp_min: 'Lifts values up to a limit.',
  delta: 'How much each gauge differs between the beginning and the end of the window.',
  deriv: 'How fast each gauge changes, per second, by linear regression.',
  predict_linear: 'What each gauge will be in so many seconds, by linear regression.',
  time: 'The time of the evaluation, in seconds since 1970.',
  vector: 'Makes a series without labels of a number.',
  scalar: 'Makes a number of the only series.',
  sort_desc: 'Sorts by value, the largest first.',
  sort: 'Sorts by value, the smallest first.',
};

/** explain is a node and all below in words; describe tells of functions that are not known here. */
export function explain(n: Node, describe: (name: string) => string = () => ''): Explained {
  const below = (...nodes: (Node | null | undefined)[]) => nodes.filter((c): c is Node => !!c).map((c) => explain(c, describe));
  const text = source(n);
  switch (n.type) {
    case 'vectorSelector':
      return { text, words: `The newest value of every series of ${selected(n)}${moment(n)}.`, children: [] };
    case 'matrixSelector':
      return { text, words: `All samples within ${milliseconds(Number(n.range))} of ${selected(n)}${moment(n)}.`, children: [] };
    case 'subquery':
      return { text, words: `Evaluates what is below again and again, over ${milliseconds(Number(n.range))}, every ${n.step ? milliseconds(Number(n.step)) : 'scrape interval'}${moment(n)}.`, children: below(child(n, 'expr')) };
    case 'call': {
      const name = (n.func as { name: string }).name;
      const known = functions[name] ?? (describe(name) || `Applies ${name}.`);
      return { text, words: known, children: below(...((n.args ?? []) as Node[])) };
    }
    case 'aggregation':
      return { text, words: aggregationWords(n), children: below(child(n, 'expr')) };
    case 'binaryExpr':
      return { text, words: binaryWords(n), children: below(child(n, 'lhs'), child(n, 'rhs')) };
    case 'unaryExpr':
      return { text, words: n.op === '-' ? 'Turns the sign around.' : 'Leaves the sign as it is.', children: below(child(n, 'expr')) };
    case 'parenExpr':
      return explain(child(n, 'expr') ?? { type: 'unknown' }, describe);
    case 'numberLiteral':
      return { text, words: 'A number.', children: [] };
    case 'stringLiteral':
      return { text, words: 'A text.', children: [] };
    default:
      return { text, words: `Something that this page does not know: ${n.type}.`, children: [] };
  }
}
