// Named queries, and their expansion exactly as package library does it in Go.
import { get } from './api.ts';

export interface Variable {
  default: string;
  doc: string;
}

export interface NamedQuery {
  name: string;
  group: string;
  title: string;
  doc: string;
  unit: string;
  type: string;
  variables?: Record<string, Variable>;
  expr: string;
}

interface Part {
  text: string;
  variable?: string;
  quoted?: boolean;
}

const variable = /^\$(?:([a-z_][a-z0-9_]*)|\{([a-z_][a-z0-9_]*)\})/;
const number = /^-?([0-9]+(\.[0-9]+)?|([0-9]+(ms|[smhdwy]))+)$/;

/** split finds the variables of an expression. Comments have none, and neither has a $ without a name, as in "^a$". */
export function split(expr: string): Part[] {
  const parts: Part[] = [];
  let quote = ''; // that ends the string we are in, a line break in a comment
  let begin = 0;
  for (let i = 0; i < expr.length; i++) {
    const c = expr[i];
    if (c === '$' && quote !== '\n') {
      const found = variable.exec(expr.slice(i));
      if (!found) continue;
      parts.push({ text: expr.slice(begin, i) }, { text: found[0], variable: found[1] ?? found[2], quoted: quote !== '' });
      begin = i + found[0].length;
      i = begin - 1;
    } else if (c === quote) quote = '';
    else if (quote === '' && (c === '"' || c === "'" || c === '`')) quote = c;
    else if (quote === '' && c === '#') quote = '\n';
    else if (c === '\\' && (quote === '"' || quote === "'")) i++;
  }
  parts.push({ text: expr.slice(begin) });
  return parts;
}

/** misfit says why a value cannot stand in, or outside of, a string. */
export function misfit(value: string, quoted: boolean): string | undefined {
  if (quoted) return /["'`\\\n\r\0]/.test(value) ? 'want no quote, backslash or line break ([.] is a dot of a regular expression)' : undefined;
  return number.test(value) ? undefined : 'want a number, or a duration such as 5m';
}

/** expand puts values in the place of variables; one that is not set takes its default. */
export function expand(query: NamedQuery, values: Record<string, string> = {}): string {
  const known = query.variables ?? {};
  for (const name of Object.keys(values).sort()) {
    if (!Object.hasOwn(known, name)) throw new Error(`${query.name}: no variable ${JSON.stringify(name)}: it has ${Object.keys(known).sort().join(', ') || 'none'}`);
  }
  let text = '';
  for (const part of split(query.expr)) {
    if (part.variable === undefined) {
      text += part.text;
      continue;
    }
    if (!Object.hasOwn(known, part.variable)) throw new Error(`${query.name}: $${part.variable} is not declared`);
    const value = Object.hasOwn(values, part.variable) ? (values[part.variable] ?? '') : (known[part.variable]?.default ?? '');
    const why = misfit(value, part.quoted ?? false);
    if (why) throw new Error(`${query.name}: variable ${part.variable}: ${JSON.stringify(value)}: ${why}`);
    text += value;
  }
  return text;
}

let fetched: Promise<NamedQuery[]> | undefined;

/** library is all named queries, asked for once; after a failure the next caller asks again. */
export function library(): Promise<NamedQuery[]> {
  fetched ??= get<{ data: NamedQuery[] }>('api/yagura/library').then(
    (answer) => answer.data,
    (error) => {
      fetched = undefined;
      throw error;
    },
  );
  return fetched;
}

/** find is a query by its name. */
export async function find(name: string): Promise<NamedQuery> {
  const query = (await library()).find((q) => q.name === name);
  if (!query) throw new Error(`The query library has no ${name}: the page and the program are of different versions. Reload the page.`);
  return query;
}
