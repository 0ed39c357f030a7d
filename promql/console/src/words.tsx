// Markdown as elements. The text of a runbook never becomes markup but through these.
import type { ComponentChildren } from 'preact';
import { type Block, type Inline, markdown } from './markdown.ts';
import { explore } from './parts.tsx';

function spans(nodes: Inline[]): ComponentChildren {
  return nodes.map((n, i) => {
    switch (n.kind) {
      case 'text':
        return n.text;
      case 'code':
        return <code key={i}>{n.text}</code>;
      case 'strong':
        return <strong key={i}>{spans(n.children)}</strong>;
      case 'em':
        return <em key={i}>{spans(n.children)}</em>;
      case 'link':
        return n.to.startsWith('#') ? <span key={i}>{spans(n.children)}</span> : <a key={i} href={n.to} rel="noreferrer" target="_blank">{spans(n.children)}</a>;
    }
  });
}

function blocks(nodes: Block[]): ComponentChildren {
  return nodes.map((n, i) => {
    switch (n.kind) {
      case 'heading':
        return n.level <= 2 ? <h3 key={i}>{spans(n.children)}</h3> : <h4 key={i}>{spans(n.children)}</h4>;
      case 'paragraph':
        return <p key={i}>{spans(n.children)}</p>;
      case 'code':
        return (
          <div class="block" key={i}>
            <pre tabIndex={0}><code>{n.text}</code></pre>
            {n.language === 'promql' && <a href={explore(n.text)}>Explore this</a>}
          </div>
        );
      case 'list': {
        const items = n.items.map((item, j) => <li key={j}>{item.length === 1 && item[0]?.kind === 'paragraph' ? spans(item[0].children) : blocks(item)}</li>);
        return n.ordered ? <ol key={i}>{items}</ol> : <ul key={i}>{items}</ul>;
      }
      case 'quote':
        return <blockquote key={i}>{blocks(n.children)}</blockquote>;
      case 'table':
        return (
          <div class="scroll" key={i} tabIndex={0}>
            <table>
              <thead><tr>{n.head.map((cell, j) => <th key={j} scope="col">{spans(cell)}</th>)}</tr></thead>
              <tbody>{n.rows.map((row, j) => <tr key={j}>{row.map((cell, k) => <td key={k}>{spans(cell)}</td>)}</tr>)}</tbody>
            </table>
          </div>
        );
      case 'rule':
        return <hr key={i} />;
    }
  });
}

export function Words({ text }: { text: string }) {
  return <div class="words">{blocks(markdown(text))}</div>;
}
