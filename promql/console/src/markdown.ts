// A small part of Markdown, the part that runbooks use, as a tree. Whatever is not understood is text: nothing is ever markup by
// itself, and a link leads to http, https or within the page, or is no link.

export type Inline =
  | { kind: 'text'; text: string }
  | { kind: 'code'; text: string }
  | { kind: 'strong' | 'em'; children: Inline[] }
  | { kind: 'link'; to: string; children: Inline[] };

export type Block =
  | { kind: 'heading'; level: number; children: Inline[] }
  | { kind: 'paragraph'; children: Inline[] }
  | { kind: 'code'; text: string; language: string }
  | { kind: 'list'; ordered: boolean; items: Block[][] }
  | { kind: 'quote'; children: Block[] }
  | { kind: 'table'; head: Inline[][]; rows: Inline[][][] }
  | { kind: 'rule' };

const deepest = 6;

/** A link's address, if it is one that may be followed. */
export function safeLink(to: string): string | undefined {
  return /^(https?:\/\/[^\s]+|#[^\s]*)$/i.test(to) ? to : undefined;
}

export function inline(text: string, depth = 0): Inline[] {
  const out: Inline[] = [];
  let plain = '';
  const flush = () => {
    if (plain) out.push({ kind: 'text', text: plain });
    plain = '';
  };
  const add = (node: Inline) => {
    flush();
    out.push(node);
  };
  for (let i = 0; i < text.length; ) {
    const rest = text.slice(i);
    const escaped = /^\\([\\`*_{}[\]()#+\-.!|<>])/.exec(rest);
    if (escaped) {
      plain += escaped[1];
      i += 2;
      continue;
    }
    const code = /^(`+)([\s\S]*?[^`])\1(?!`)/.exec(rest);
    if (code) {
      add({ kind: 'code', text: (code[2] ?? '').trim() });
      i += code[0].length;
      continue;
    }
    if (depth < deepest) {
      const strong = /^\*\*(?=\S)([\s\S]*?\S)\*\*/.exec(rest);
      if (strong) {
        add({ kind: 'strong', children: inline(strong[1] ?? '', depth + 1) });
        i += strong[0].length;
        continue;
      }
      const em = /^\*(?=[^\s*])([^*]*[^\s*])\*/.exec(rest) ?? (/\w$/.test(text.slice(0, i)) ? null : /^_(?=[^\s_])([^_]*[^\s_])_(?!\w)/.exec(rest));
      if (em) {
        add({ kind: 'em', children: inline(em[1] ?? '', depth + 1) });
        i += em[0].length;
        continue;
      }
      const link = /^\[([^\]]+)\]\(([^)\s]+)\)/.exec(rest);
      if (link) {
        const children = inline(link[1] ?? '', depth + 1);
        const to = safeLink(link[2] ?? '');
        if (to) add({ kind: 'link', to, children });
        else {
          flush();
          out.push(...children);
        }
        i += link[0].length;
        continue;
      }
      const bare = /^<?(https?:\/\/[^\s<>)]+[^\s<>).,;:!?])>?/.exec(rest);
      if (bare) {
        add({ kind: 'link', to: bare[1] ?? '', children: [{ kind: 'text', text: bare[1] ?? '' }] });
        i += bare[0].length;
        continue;
      }
    }
    plain += text[i];
    i++;
  }
  flush();
  return out;
}

const item = /^( {0,3})([-*+]|\d{1,9}[.)])( +|$)(.*)$/;
const fence = /^ {0,3}(```+|~~~+)\s*([\w+-]*)\s*$/;

const cells = (line: string) => line.trim().replace(/^\||(?<!\\)\|$/g, '').split(/(?<!\\)\|/).map((cell) => inline(cell.trim()));
const isDivider = (line: string | undefined) => line !== undefined && line.includes('-') && /^\s*\|?(\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?\s*$/.test(line);

/** markdown reads a text. */
export function markdown(text: string, depth = 0): Block[] {
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  const blocks: Block[] = [];
  let i = 0;
  const line = () => lines[i] ?? '';
  const starts = (at: string) => fence.test(at) || /^#{1,6} /.test(at) || item.test(at) || /^ {0,3}>/.test(at) || at.trim() === '';
  while (i < lines.length) {
    const here = line();
    if (here.trim() === '') {
      i++;
      continue;
    }
    const opened = fence.exec(here);
    if (opened) {
      const body: string[] = [];
      const mark = opened[1] ?? '```';
      for (i++; i < lines.length && !line().trim().startsWith(mark); i++) body.push(line());
      i++;
      blocks.push({ kind: 'code', text: body.join('\n'), language: opened[2] ?? '' });
      continue;
    }
    const heading = /^(#{1,6}) +(.*?)\s*#*$/.exec(here);
    if (heading) {
      blocks.push({ kind: 'heading', level: (heading[1] ?? '#').length, children: inline(heading[2] ?? '') });
      i++;
      continue;
    }
    if (/^ {0,3}([-*_])( *\1){2,} *$/.test(here)) {
      blocks.push({ kind: 'rule' });
      i++;
      continue;
    }
    if (/^ {4}/.test(here)) {
      const body: string[] = [];
      for (; i < lines.length && (/^ {4}/.test(line()) || (line().trim() === '' && /^ {4}/.test(lines[i + 1] ?? ''))); i++) body.push(line().slice(4));
      blocks.push({ kind: 'code', text: body.join('\n'), language: '' });
      continue;
    }
    if (/^ {0,3}>/.test(here) && depth < deepest) {
      const body: string[] = [];
      for (; i < lines.length && /^ {0,3}>/.test(line()); i++) body.push(line().replace(/^ {0,3}> ?/, ''));
      blocks.push({ kind: 'quote', children: markdown(body.join('\n'), depth + 1) });
      continue;
    }
    if (item.test(here) && depth < deepest) {
      const ordered = /^ *\d/.test(here);
      const items: Block[][] = [];
      while (i < lines.length) {
        const first = item.exec(line());
        if (!first || /^ *\d/.test(line()) !== ordered) break;
        const indent = (first[1] ?? '').length + (first[2] ?? '').length + Math.min((first[3] ?? ' ').length, 4);
        const body = [first[4] ?? ''];
        for (i++; i < lines.length; i++) {
          const at = line();
          if (at.trim() === '') {
            if (!/^\s{2,}\S/.test(lines[i + 1] ?? '')) break;
            body.push('');
          } else if (/^\s{2,}/.test(at)) body.push(at.slice(Math.min(indent, at.length - at.trimStart().length)));
          else if (starts(at)) break;
          else body.push(at);
        }
        items.push(markdown(body.join('\n'), depth + 1));
        if (line().trim() === '' && item.test(lines[i + 1] ?? '')) i++;
      }
      blocks.push({ kind: 'list', ordered, items });
      continue;
    }
    if (here.includes('|') && isDivider(lines[i + 1])) {
      const head = cells(here);
      const rows: Inline[][][] = [];
      for (i += 2; i < lines.length && line().includes('|') && line().trim() !== ''; i++) rows.push(cells(line()));
      blocks.push({ kind: 'table', head, rows });
      continue;
    }
    const body = [here.trim()];
    for (i++; i < lines.length && !starts(line()); i++) body.push(line().trim());
    blocks.push({ kind: 'paragraph', children: inline(body.join(' ')) });
  }
  return blocks;
}
